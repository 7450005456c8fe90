//! Terminals: left as they were found, whatever ends, stops or continues a machine.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::process::Owned;

use crate::scene::{Scene, Terminal, end, send, vmm_path, wait_until};

#[test]
fn a_signal_that_kills_leaves_a_clean_terminal_and_no_sockets() {
    use Signal::*;
    for signal in [
        SIGUSR1, SIGUSR2, SIGALRM, SIGABRT, SIGXCPU, SIGVTALRM, SIGPROF, SIGIO, SIGSYS, SIGSEGV,
        SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGPWR, SIGSTKFLT,
    ] {
        let scene = Scene::new();
        let mut terminal = Terminal::open();
        let mut vmm = scene.vmm("idle", &[]);
        vmm.stdin(terminal.end_for_child()).stdout(terminal.end_for_child());
        let process = Owned::spawn(&mut vmm).unwrap();
        drop(vmm);
        scene.running();
        terminal.wait_raw(true);
        send(&process, signal);
        let status = end(process);
        assert_eq!(status.signal(), Some(signal as i32), "{signal}: {status}");
        assert!(!terminal.is_raw(), "{signal}");
        assert!(!scene.path("api").exists(), "{signal}");
        let errors = scene.read("errors");
        assert_eq!(errors.lines().count(), usize::from(signal != SIGABRT), "{signal}: {errors}");
    }
}

#[test]
fn who_watches_a_machine_gets_the_terminal_back_too() {
    let scene = Scene::new();
    let _machine = Owned::spawn(&mut scene.vmm("idle", &["--serial", "none"])).unwrap();
    scene.running();
    let mut terminal = Terminal::open();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        // Who runs tests may ignore hang-ups, as nohup does.
        let mut top = scene.command("env", &["--default-signal=HUP"]);
        top.arg(vmm_path()).args(["ctl", "api", "top"]);
        top.stdin(terminal.end_for_child()).stdout(terminal.end_for_child());
        let process = Owned::spawn(&mut top).unwrap();
        drop(top);
        terminal.wait_for("vmm top");
        assert!(terminal.is_raw());
        send(&process, signal);
        assert_eq!(end(process).signal(), Some(signal as i32));
        assert!(!terminal.is_raw(), "{signal}");
    }
}

#[test]
fn a_signal_without_a_name_and_a_signal_that_was_ignored() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    scene.running();
    let killed = Command::new("bash").args(["-c", &format!("kill -64 {}", process.pid())]).status();
    assert!(killed.unwrap().success());
    assert_eq!(end(process).signal(), Some(64));
    assert!(!scene.path("api").exists());

    let vmm = scene.vmm("idle", &["--serial", "none"]);
    let mut deaf = Command::new("bash");
    deaf.args(["-c", "trap '' USR1; exec \"$0\" \"$@\""]);
    deaf.arg(vmm.get_program()).args(vmm.get_args()).current_dir(scene.0.path());
    let process = Owned::spawn(deaf.stdin(Stdio::null()).stdout(Stdio::null())).unwrap();
    let mut api = scene.running();
    send(&process, Signal::SIGUSR1);
    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

/// A shell with job control on a terminal of its own.
struct Shell {
    terminal: Terminal,
    _process: Owned,
}

impl Shell {
    fn start(scene: &Scene, shell: &[&str]) -> Shell {
        let terminal = Terminal::open();
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(shell).current_dir(scene.0.path());
        command.env("PS1", "ready> ").env("VMM", vmm_path()).env("HISTFILE", "");
        command.stdin(terminal.end_for_child());
        command.stdout(terminal.end_for_child()).stderr(terminal.end_for_child());
        let process = Owned::spawn(&mut command).unwrap();
        let mut shell = Shell { terminal, _process: process };
        shell.terminal.wait_for("ready> ");
        shell
    }

    fn run(&mut self, line: &str) {
        self.terminal.type_keys(&format!("{line}\n"));
    }
}

const SHELLS: [&[&str]; 2] =
    [&["bash", "--norc", "--noprofile", "--noediting", "-i"], &["dash", "-i"]];
const IDLE: &str = "$VMM --kernel idle --mem 64M --api-sock api";

/// The vmm that runs in the scene's folder.
fn pid_of(scene: &Scene) -> Pid {
    let (vmm, folder) =
        (vmm_path().canonicalize().unwrap(), scene.0.path().canonicalize().unwrap());
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = processes.find(|process| {
        let is = |link: &str, path: &Path| {
            fs::read_link(process.join(link)).is_ok_and(|target| target == path)
        };
        is("exe", &vmm) && is("cwd", &folder)
    });
    let name = found.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    Pid::from_raw(name.expect("vmm runs").parse().unwrap())
}

#[test]
fn a_machine_that_is_stopped_gives_its_terminal_back_and_takes_it_in_the_foreground() {
    // Of SIGSTOP a process hears nothing; bash brings its own modes back then, and dash does not.
    let both = [Signal::SIGTSTP, Signal::SIGSTOP];
    for (shell, stops) in SHELLS.into_iter().zip([&both[..], &both[..1]]) {
        let scene = Scene::new();
        let mut shell = Shell::start(&scene, shell);
        shell.run(IDLE);
        scene.running();
        shell.terminal.wait_raw(true);
        for signal in stops {
            kill(pid_of(&scene), *signal).unwrap();
            shell.terminal.wait_for("ready> ");
            shell.terminal.wait_raw(false);
            shell.run("fg");
            shell.terminal.wait_raw(true);
        }
        // The keys are the machine's again.
        shell.terminal.type_keys("\u{1}h");
        shell.terminal.wait_for("this help");
        shell.terminal.type_keys("\u{1}x");
        shell.terminal.wait_for("ready> ");
        assert!(!shell.terminal.is_raw());
        assert!(!scene.path("api").exists());
    }
}

#[test]
fn a_machine_that_was_started_in_the_background_runs_there_and_takes_the_terminal_later() {
    for shell in SHELLS {
        let scene = Scene::new();
        let mut shell = Shell::start(&scene, shell);
        shell.run(&format!("{IDLE} &"));
        shell.terminal.wait_for("ready> ");
        scene.running();
        assert!(!shell.terminal.is_raw());
        // The terminal is the shell's.
        shell.run("echo =$((6*7))=");
        shell.terminal.wait_for("=42=");
        shell.terminal.wait_for("ready> ");
        assert_eq!(scene.api().get("/").unwrap()["state"], "Running");
        shell.run("fg");
        shell.terminal.wait_raw(true);
        shell.terminal.type_keys("\u{1}x");
        shell.terminal.wait_for("ready> ");
        assert!(!shell.terminal.is_raw());
    }
}

#[test]
fn a_machine_in_the_background_ends_without_touching_the_terminal() {
    let scene = Scene::new();
    let mut shell = Shell::start(&scene, SHELLS[0]);
    shell.run(IDLE);
    scene.running();
    shell.terminal.wait_raw(true);
    kill(pid_of(&scene), Signal::SIGTSTP).unwrap();
    shell.terminal.wait_for("ready> ");
    shell.run("bg; stty -echo");
    shell.terminal.wait_for("ready> ");
    let modes = shell.terminal.modes();
    scene.running().act("Kill").unwrap();
    wait_until("it is gone", || !scene.path("api").exists());
    shell.run("wait; echo over$?");
    shell.terminal.wait_for("over0");
    shell.terminal.wait_for("ready> ");
    assert_eq!(shell.terminal.modes(), modes);
}

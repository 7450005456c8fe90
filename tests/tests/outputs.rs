//! Outputs that fail, ends that must leave nothing behind, and shells that stop and start a vmm.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tests::api::Api;
use tests::host;
use tests::idle;
use tests::machine::Hypervisor;
use tests::net::Network;
use tests::process::Owned;

const PATIENCE: Duration = Duration::from_secs(60);

fn vmm_path() -> PathBuf {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => path,
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

/// Waits for `done`, looking often.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder with the kernels, and where a vmm puts its things.
struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        host::need_kvm();
        let folder = tempfile::tempdir().unwrap();
        idle::kernel(folder.path()).unwrap();
        idle::chatty(folder.path()).unwrap();
        Scene(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    /// A vmm in the folder, with its standard error in the file `errors`.
    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.path("errors")).unwrap());
        command
    }

    /// A vmm that boots `kernel`, with an API at `api`.
    fn vmm(&self, kernel: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(vmm_path(), &["--kernel", kernel, "--mem", "64M"]);
        command.args(["--api-sock", "api"]).args(arguments);
        command
    }

    fn api(&self) -> Api {
        Api::wait(&self.path("api"), PATIENCE).unwrap()
    }

    /// Waits until the machine runs.
    fn running(&self) -> Api {
        let mut api = self.api();
        wait_until("the machine runs", || api.get("/").unwrap()["state"] == "Running");
        api
    }

    fn fifo(&self) -> PathBuf {
        let path = self.path("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

fn end(mut process: Owned) -> ExitStatus {
    process.wait(PATIENCE).unwrap().expect("vmm still runs")
}

fn send(process: &Owned, signal: Signal) {
    kill(Pid::from_raw(process.pid() as i32), signal).unwrap();
}

/// As `command`, but its files may have `KIB` KiB only.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap());
    limited.stdin(Stdio::null()).stdout(Stdio::null());
    limited
}

/// A machine that writes more than it may, with its words in `errors`.
fn limited_chatty(scene: &Scene) -> (Owned, Api) {
    let vmm = scene.vmm("chatty", &["--serial", "file=console", "--metrics-path", "metrics"]);
    let mut command = limited(&vmm);
    command.stderr(File::create(scene.path("errors")).unwrap());
    let process = Owned::spawn(&mut command).unwrap();
    (process, scene.running())
}

#[test]
fn a_limit_on_file_sizes_ends_no_machine() {
    let scene = Scene::new();
    let (process, mut api) = limited_chatty(&scene);
    wait_until("the console is full", || scene.read("console").len() == 16 << 10);
    while scene.read("metrics").len() < 16 << 10 {
        api.act("FlushMetrics").unwrap();
    }
    for _ in 0..10 {
        api.act("FlushMetrics").unwrap();
    }
    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    assert!(!scene.path("api").exists());
    let errors = scene.read("errors");
    for part in
        ["cannot write the console's output: File too large", "cannot write metrics to metrics"]
    {
        assert_eq!(errors.matches(part).count(), 1, "{part:?} once in: {errors}");
    }
}

#[test]
fn an_output_that_can_be_written_again_is_told_as_its_failure_was() {
    let scene = Scene::new();
    let (process, mut api) = limited_chatty(&scene);
    let mut wait_for = |part: &str| {
        wait_until(part, || {
            api.act("FlushMetrics").unwrap();
            scene.read("errors").contains(part)
        });
    };
    wait_for("cannot write the console's output");
    wait_for("cannot write metrics to metrics");
    for name in ["console", "metrics"] {
        File::create(scene.path(name)).unwrap();
    }
    wait_for("the console's output can be written again");
    wait_for("metrics can be written again");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

/// As `vmm`, in a network, and in a folder whose part `full` has no room left.
fn short_of_room(vmm: &Command, network: &Network) -> Command {
    let fill = "mkdir full && mount -t tmpfs -o size=4k tmpfs full || exit
        cat /dev/zero >full/rest 2>/dev/null; exec \"$0\" \"$@\"";
    // Its mounts are its own.
    let mut command = network.command("bash");
    command.args(["-c", fill]).arg(vmm.get_program()).args(vmm.get_args());
    command.current_dir(vmm.get_current_dir().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Its guest drives no card, so that a file has its head and its end alone: a ring's both in the end.
#[test]
fn a_capture_that_cannot_be_written_ends_no_machine() {
    const CAPTURE: &str = "/network-interfaces/eth0/capture";
    assert!(nix::unistd::geteuid().is_root(), "needs root: it makes a TAP and a full file system");
    let scene = Scene::new();
    let mut network = Network::new().unwrap();
    let tap = network.tap(1, 1500).unwrap();
    let card = format!("tap={}", tap.name);
    let vmm = scene.vmm("idle", &["--serial", "none", "--net", &card]);
    let mut command = short_of_room(&vmm, &network);
    // No file: that would be limited too.
    let (mut errors, said) = std::io::pipe().unwrap();
    let process = Owned::spawn(command.stderr(said)).unwrap();
    drop(command);
    let mut api = scene.running();

    let refused = api.ask("PUT", CAPTURE, r#"{"path":"full/capture"}"#).unwrap();
    assert_eq!(refused.status, 500, "{refused:?}");
    assert!(refused.fault().unwrap().contains("No space left"), "{refused:?}");

    api.done("PUT", CAPTURE, &json!({ "path": "full/ring", "ring": true })).unwrap();
    let stopped = api.ask("DELETE", CAPTURE, "").unwrap();
    assert!(stopped.body.contains(r#"{"failed":"No space left"#), "{stopped:?}");

    api.done("PUT", CAPTURE, &json!({ "path": "limited" })).unwrap();
    let most = fs::metadata(scene.path("limited")).unwrap().len();
    let pid = process.pid().to_string();
    let limit = format!("--fsize={most}:");
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    let stopped = api.ask("DELETE", CAPTURE, "").unwrap();
    assert!(stopped.body.contains(r#"{"failed":"File too large"#), "{stopped:?}");

    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    let mut told = String::new();
    errors.read_to_string(&mut told).unwrap();
    for why in ["No space left", "File too large"] {
        let part = format!("a capture ends, as its file cannot be written: {why}");
        assert_eq!(told.matches(&part).count(), 1, "{part:?} once in: {told}");
    }
}

/// Where a line cannot be said: a full device, and a pipe that nobody reads any more.
fn deaf() -> [Stdio; 2] {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, broken) = std::io::pipe().unwrap();
    [full.into(), broken.into()]
}

#[test]
fn codes_are_the_documented_ones_if_nobody_can_hear_why() {
    for errors in deaf() {
        let scene = Scene::new();
        let mut wrong = scene.command(vmm_path(), &["--kernel", "nowhere", "--mem", "64M"]);
        assert_eq!(end(Owned::spawn(wrong.stderr(errors)).unwrap()).code(), Some(2));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut flag = scene.command(vmm_path(), &["--floppy"]);
        assert_eq!(end(Owned::spawn(flag.stderr(errors)).unwrap()).code(), Some(2));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut vmm = scene.vmm("idle", &["--serial", "none", "--grace", "0"]);
        let process = Owned::spawn(vmm.stderr(errors)).unwrap();
        scene.running();
        send(&process, Signal::SIGTERM);
        assert_eq!(end(process).code(), Some(143));
        assert!(!scene.path("api").exists());
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut vmm = scene.vmm("idle", &["--serial", "none"]);
        let process = Owned::spawn(vmm.stderr(errors)).unwrap();
        scene.running().act("Reset").unwrap();
        assert_eq!(end(process).code(), Some(3));
    }
    for errors in deaf() {
        let scene = Scene::new();
        let mut ctl = scene.command(vmm_path(), &["ctl", "nowhere", "info"]);
        assert_eq!(end(Owned::spawn(ctl.stderr(errors)).unwrap()).code(), Some(1));
    }
}

#[test]
fn an_answer_that_cannot_be_shown_is_an_error_unless_nobody_wants_it() {
    let scene = Scene::new();
    let process = Owned::spawn(&mut scene.vmm("idle", &["--serial", "none"])).unwrap();
    scene.running();
    for arguments in [&["ctl", "api", "info"][..], &["ctl", "api", "metrics"], &["--help"]] {
        let said = scene.path("said");
        for (output, (code, lines)) in deaf().into_iter().zip([(1, 1), (0, 0)]) {
            let mut command = scene.command(vmm_path(), arguments);
            command.stdout(output).stderr(File::create(&said).unwrap());
            assert_eq!(
                end(Owned::spawn(&mut command).unwrap()).code(),
                Some(code),
                "{arguments:?}"
            );
            let said = fs::read_to_string(&said).unwrap();
            assert_eq!(said.lines().count(), lines, "{arguments:?}: {said}");
            assert!(
                lines == 0 || said.starts_with("vmm: error: cannot write to standard output"),
                "{said}"
            );
        }
    }
    scene.api().act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

#[test]
fn of_many_processes_at_one_stale_socket_one_gets_it() {
    for what in ["api", "console"] {
        let scene = Scene::new();
        drop(UnixListener::bind(scene.path(what)).unwrap());
        let start = |nth: usize| {
            let arguments: &[&str] = match what {
                "api" => &["--api-sock", "api"],
                _ => &["--kernel", "idle", "--mem", "64M", "--serial", "socket=console"],
            };
            let mut command = scene.command(vmm_path(), arguments);
            command.stderr(File::create(scene.path(&format!("errors-{nth}"))).unwrap());
            Owned::spawn(&mut command).unwrap()
        };
        let mut all: Vec<_> = (0..6).map(start).collect();
        let mut ended = Vec::new();
        wait_until("all but one have given up", || {
            ended = all.iter_mut().map(|one| one.wait(Duration::ZERO).unwrap()).collect();
            ended.iter().flatten().count() == 5
        });
        for (nth, status) in ended.iter().enumerate() {
            let Some(status) = status else { continue };
            let said = scene.read(&format!("errors-{nth}"));
            assert_eq!(status.code(), Some(2), "{said}");
            assert!(said.contains("is in use by another process"), "{said}");
        }
        assert!(std::os::unix::net::UnixStream::connect(scene.path(what)).is_ok());
        assert!(!scene.path(&format!("{what}.lock")).exists());
    }
}

#[test]
fn a_fifo_needs_no_reader_and_a_reader_may_come_back() {
    let scene = Scene::new();
    scene.fifo();
    let mut vmm = scene.vmm("chatty", &["--serial", "file=fifo"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..2 {
        let mut reader = File::open(scene.path("fifo")).unwrap();
        // More than a pipe holds: some of it was written while this one reads.
        let mut text = vec![0; 200_000];
        reader.read_exact(&mut text).unwrap();
        assert!(text.iter().all(|&byte| byte == b'x'));
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));

    let _ = fs::remove_file(scene.path("api"));
    let mut waiting = scene.command(vmm_path(), &["--api-sock", "api"]);
    let process = Owned::spawn(&mut waiting).unwrap();
    let mut api = scene.api();
    api.done("PUT", "/serial", &json!({ "serial_out_path": "fifo" })).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "idle" })).unwrap();
    api.act("InstanceStart").unwrap();
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_is_told_once() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "/dev/full"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..3 {
        assert_eq!(api.ask("GET", "/nothing", "").unwrap().status, 400);
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    let errors = scene.read("errors");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.starts_with("vmm: warning: cannot write the log to /dev/full: No space left"),
        "{errors}"
    );
}

#[test]
fn the_log_tells_why_it_ended_and_what_was_refused() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "log"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    for _ in 0..100 {
        let path = format!("/nothing/{}", "long".repeat(1000));
        let answer = api.ask("PUT", &path, &"x".repeat(10_000)).unwrap();
        assert_eq!(answer.status, 400);
    }
    assert_eq!(api.ask("PATCH", "/vm", r#"{"state":"Upside\ndown"}"#).unwrap().status, 400);
    api.act("Reset").unwrap();
    assert_eq!(end(process).code(), Some(3));
    let (log, errors) = (scene.read("log"), scene.read("errors"));
    assert_eq!(errors, "vmm: reset by the API\n");
    assert!(log.contains("reset by the API"), "{log}");
    assert!(log.contains("PUT /nothing/long"), "{log}");
    assert!(log.contains("is answered with 400"), "{log}");
    assert!(log.lines().count() < 20 && log.len() < 20_000, "{log}");

    let mut wrong = scene.command(vmm_path(), &["--kernel", "nowhere", "--mem", "64M"]);
    assert_eq!(end(Owned::spawn(wrong.args(["--log-file", "log"])).unwrap()).code(), Some(2));
    assert!(scene.read("log").contains("nowhere does not exist"));
    assert_eq!(scene.read("errors").lines().count(), 1);
}

#[test]
fn the_log_tells_what_was_no_request_and_that_no_more_can_follow() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &["--serial", "none", "--log-file", "log"]);
    let process = Owned::spawn(&mut vmm).unwrap();
    let mut api = scene.running();
    let say = |text: &str| {
        let mut client = UnixStream::connect(scene.path("api")).unwrap();
        client.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(say("hello\r\n\r\n"), "HTTP/1.1 400");
    assert_eq!(say(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))), "HTTP/1.1 431");
    let follow = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut followers: Vec<_> = (0..32).map(|_| scene.api().follow("/events").unwrap()).collect();
    followers.iter_mut().for_each(|follower| drop(follower.next()));
    assert_eq!(say(follow), "HTTP/1.1 400");
    for part in [
        "a request that cannot be read is answered with 400: this is no request of HTTP/1.1",
        "a request that cannot be read is answered with 431: the request's head is too large",
        "GET /events is answered with 400: 32 clients follow already",
    ] {
        assert_eq!(scene.read("log").matches(part).count(), 1, "{part}: {}", scene.read("log"));
    }
    let silent: Vec<_> =
        (0..200).map(|_| UnixStream::connect(scene.path("api")).unwrap()).collect();
    assert_eq!(say(""), "HTTP/1.1 503");
    drop(silent);
    let full = "one client more is answered with 503: 128 clients are connected";
    assert!(scene.read("log").contains(full), "{}", scene.read("log"));
    wait_until("there is room again", || {
        Api::connect(&scene.path("api"))
            .is_ok_and(|mut api| api.get("/").is_ok_and(|instance| instance["state"] == "Running"))
    });
    for _ in 0..200 {
        assert_eq!(say("hello\r\n\r\n"), "HTTP/1.1 400");
    }
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
    assert!(scene.read("log").lines().count() < 50, "{}", scene.read("log"));
}

#[test]
fn a_host_that_is_out_of_descriptors_is_not_the_users_fault() {
    let scene = Scene::new();
    let mut ran = false;
    for most in 5..60 {
        let vmm = scene
            .vmm("idle", &["--serial", "file=console", "--log-file", "log", "--initrd", "idle"]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
        command.arg(vmm.get_program()).args(vmm.get_args()).current_dir(scene.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(scene.path("errors")).unwrap());
        let mut process = Owned::spawn(&mut command).unwrap();
        let mut status = None;
        wait_until("it ends or runs", || {
            status = process.wait(Duration::ZERO).unwrap();
            ran = Api::connect(&scene.path("api")).is_ok_and(|mut api| {
                api.get("/").is_ok_and(|instance| instance["state"] == "Running")
            });
            status.is_some() || ran
        });
        if ran {
            break;
        }
        let errors = scene.read("errors");
        // Until its libraries are loaded, the loader's.
        if errors.starts_with("vmm: ") {
            assert_eq!(status.unwrap().code(), Some(1), "{most} descriptors: {errors}");
            assert!(errors.contains("Too many open files"), "{errors}");
        }
        assert!(!scene.path("api").exists(), "{errors}");
    }
    assert!(ran, "it never ran");
}

/// Both ends of a terminal.
struct Terminal {
    person: File,
    terminal: OwnedFd,
    shown: Vec<u8>,
}

impl Terminal {
    fn open() -> Terminal {
        let size = Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        Terminal { person: pty.master.into(), terminal: pty.slave, shown: Vec::new() }
    }

    fn end_for_child(&self) -> Stdio {
        self.terminal.try_clone().unwrap().into()
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn is_raw(&self) -> bool {
        !self
            .modes()
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    fn type_keys(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// What was shown so far.
    fn shown(&mut self) -> String {
        let mut bytes = [0; 4096];
        while let Ok(count) = self.person.read(&mut bytes) {
            if count == 0 {
                break;
            }
            self.shown.extend(&bytes[..count]);
        }
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits for the text, behind what was waited for before.
    fn wait_for(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            self.shown();
            let found = self.shown.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                self.shown.drain(..at + text.len());
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{text:?} was not shown: {}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_raw(&mut self, raw: bool) {
        let begin = Instant::now();
        while self.is_raw() != raw {
            assert!(begin.elapsed() < PATIENCE, "raw is not {raw}: {}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

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

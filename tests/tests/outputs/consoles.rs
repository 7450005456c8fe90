//! What a guest and its user do by a console, and how a machine ends by either: no Linux is needed for that.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::console::Console;
use tests::idle::{self, Deed};
use tests::process::Owned;

use crate::scene::{PATIENCE, Scene, Terminal, end, send, wait_until};

/// The folder, with an `echo` that resets, ends and dies by some keys.
fn with_echo() -> Scene {
    let scene = Scene::new();
    let deeds = [
        // ACPI's sleep control and reset registers, where the FADT says they are.
        (b'O', Deed::Out(0x600, 0x34)),
        (b'A', Deed::Out(0x602, 0x01)),
        // Those of chip sets and of the keyboard controller.
        (b'P', Deed::Out(0xcf9, 0x06)),
        (b'K', Deed::Out(0x64, 0xfe)),
        (b'T', Deed::Fault),
    ];
    idle::echo(scene.0.path(), &deeds).unwrap();
    scene
}

/// A machine whose console is a terminal, in its raw mode.
fn on_terminal(scene: &Scene, kernel: &str, arguments: &[&str]) -> (Owned, Terminal) {
    let mut terminal = Terminal::open();
    let mut vmm = scene.vmm(kernel, arguments);
    vmm.stdin(terminal.end_for_child()).stdout(terminal.end_for_child());
    let process = Owned::spawn(&mut vmm).unwrap();
    scene.running();
    terminal.wait_raw(true);
    (process, terminal)
}

#[test]
fn a_key_after_ctrl_a_is_the_machines_and_the_terminal_is_as_before() {
    let scene = with_echo();
    let before = Terminal::open().modes();
    let (process, mut terminal) = on_terminal(&scene, "echo", &[]);
    terminal.type_keys("to the guest");
    terminal.wait_for("to the guest");
    terminal.type_keys("\u{1}a!");
    terminal.wait_for("\u{1}!");
    terminal.type_keys("\u{1}x");
    assert_eq!(end(process).code(), Some(0));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn each_way_in_which_a_guest_ends_has_its_code_and_its_line() {
    let before = Terminal::open().modes();
    for (key, code) in [("O", 0), ("A", 3), ("P", 3), ("K", 3), ("T", 4)] {
        let scene = with_echo();
        let (process, mut terminal) = on_terminal(&scene, "echo", &[]);
        terminal.type_keys(key);
        assert_eq!(end(process).code(), Some(code), "{key}");
        assert_eq!(terminal.modes(), before, "{key}");
        let errors = scene.read("errors");
        assert_eq!(errors.lines().count(), usize::from(code != 0), "{key}: {errors}");
    }
}

#[test]
fn a_guest_that_is_deaf_to_the_power_button_is_stopped_after_the_grace() {
    let before = Terminal::open().modes();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let scene = Scene::new();
        let (process, terminal) = on_terminal(&scene, "idle", &["--grace", "1"]);
        send(&process, signal);
        assert_eq!(end(process).code(), Some(code), "{signal}");
        assert_eq!(terminal.modes(), before, "{signal}");
        let errors = scene.read("errors");
        let ours = errors.lines().filter(|line| line.starts_with("vmm: "));
        assert_eq!(ours.count(), 1, "{signal}: {errors}");
    }
}

/// CPU time of a process so far.
fn cpu_time(process: &Owned) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Ticks of 10 ms in fields 14 and 15 of proc(5), counted after the name.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

#[test]
fn a_closed_input_is_no_end_and_costs_nothing() {
    let scene = Scene::new();
    let mut vmm = scene.vmm("idle", &[]);
    let process = Owned::spawn(vmm.stdin(Stdio::null()).stdout(Stdio::piped())).unwrap();
    let mut api = scene.running();
    // An end of file that is polled again and again would take a CPU; the guest is idle.
    let before = cpu_time(&process);
    std::thread::sleep(Duration::from_secs(2));
    let took = cpu_time(&process) - before;
    assert!(took < Duration::from_secs(1), "an idle machine took {took:?} of two seconds");
    assert_eq!(api.get("/").unwrap()["state"], "Running");
    api.act("Kill").unwrap();
    assert_eq!(end(process).code(), Some(0));
}

#[test]
fn a_socket_is_a_console_that_can_be_left_and_taken_again() {
    let scene = with_echo();
    let process = Owned::spawn(&mut scene.vmm("echo", &["--serial", "socket=console"])).unwrap();
    scene.running();
    for word in ["first", "second"] {
        let mut stream = UnixStream::connect(scene.path("console")).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let heard = Console::collect("the socket", stream.try_clone().unwrap());
        heard.wait_for(0, word, PATIENCE).unwrap();
        let mut said = String::new();
        let mut other = UnixStream::connect(scene.path("console")).unwrap();
        other.read_to_string(&mut said).unwrap();
        assert_eq!(said, "the console is in use by another client\r\n");
        // The one who collects has a handle on it too.
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let mut last = UnixStream::connect(scene.path("console")).unwrap();
    last.write_all(b"O").unwrap();
    assert_eq!(end(process).code(), Some(0));
    wait_until("the console's socket is gone", || !scene.path("console").exists());
}

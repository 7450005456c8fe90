//! How a process ends: by signals, and by its guest.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::api::Api;
use tests::host;
use tests::process::Owned;

use super::scene::Scene;

/// What ends a process.
#[derive(Clone, Copy)]
pub enum By {
    /// A signal, before there is a machine.
    Early(Signal),
    /// A signal, while a machine runs.
    Late(Signal),
    /// A word to the guest, at which it ends its machine.
    Guest(u8),
}

/// How it ends, as its starter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Code(i32),
    Signal(i32),
}

use By::{Early, Guest, Late};
use How::Code;

/// What ends it, how, and why, if it is not so in Firecracker.
pub const ROWS: &[(By, How, Option<&str>)] = &[
    (Early(Signal::SIGTERM), How::Signal(15), None),
    (Early(Signal::SIGINT), How::Signal(2), None),
    (Early(Signal::SIGQUIT), How::Signal(3), None),
    (Early(Signal::SIGHUP), Code(156), None),
    (Early(Signal::SIGKILL), How::Signal(9), None),
    (Early(Signal::SIGUSR1), How::Signal(10), None),
    (Early(Signal::SIGSYS), Code(148), None),
    (Early(Signal::SIGBUS), Code(149), None),
    (Early(Signal::SIGSEGV), Code(150), None),
    (Early(Signal::SIGXCPU), Code(154), None),
    (Early(Signal::SIGILL), Code(157), None),
    (Early(Signal::SIGABRT), How::Signal(6), None),
    (Late(Signal::SIGTERM), How::Signal(15), None),
    (Late(Signal::SIGINT), How::Signal(2), None),
    (Late(Signal::SIGHUP), Code(156), None),
    (Late(Signal::SIGSEGV), Code(150), None),
    (Guest(b'r'), Code(0), None),
    (Guest(b'p'), Code(0), Some("there it goes on without a guest")),
    (Guest(b'f'), Code(1), None),
];

fn how(status: ExitStatus) -> How {
    match status.signal() {
        Some(signal) => How::Signal(signal),
        None => Code(status.code().unwrap()),
    }
}

fn end(scene: &Scene, by: By) -> How {
    let socket = scene.path("api");
    let served = match by {
        Early(_) => scene.serve(&[]),
        Late(_) => scene.started(&[]),
        Guest(word) => return end_of_guest(scene, word),
    };
    let (Early(signal) | Late(signal)) = by else { unreachable!("a guest was told above") };
    kill(Pid::from_raw(served.pid() as i32), signal).unwrap();
    let how = how(served.end().unwrap());
    assert_eq!(socket.exists(), signal == Signal::SIGKILL, "{signal}: only a killed one leaves it");
    how
}

fn end_of_guest(scene: &Scene, word: u8) -> How {
    host::need_kvm();
    let config = scene.fill(r#"{"boot-source":{"kernel_image_path":"{echo}"},"drives":[]}"#);
    std::fs::write(scene.path("vm.json"), config).unwrap();
    let mut command =
        scene.firecracker(&["--no-api", "--config-file", "vm.json", "--level", "Error"]);
    let mut process = Owned::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null())).unwrap();
    // It is read when the guest is there.
    std::io::Write::write_all(process.child().stdin.as_mut().unwrap(), &[word]).unwrap();
    how(process.ended(host::PATIENCE).unwrap())
}

#[test]
fn each_end_is_told_to_the_starter_as_its_row_says() {
    let scene = Scene::new();
    for (by, expected, _) in ROWS {
        let named = match by {
            Early(signal) => format!("{signal} before the start"),
            Late(signal) => format!("{signal} while it runs"),
            Guest(word) => format!("a guest told {:?}", char::from(*word)),
        };
        assert_eq!(end(&scene, *by), *expected, "{named}");
    }
}

#[test]
fn a_signal_that_firecracker_counts_ends_nothing() {
    let scene = Scene::new();
    let served = scene.serve(&[]);
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        kill(Pid::from_raw(served.pid() as i32), signal).unwrap();
        assert_eq!(served.api().unwrap().get("/").unwrap()["state"], "Not started");
    }
}

#[test]
fn a_socket_in_use_is_refused_and_one_left_behind_is_not() {
    let scene = Scene::new();
    let socket = scene.path("api");
    let served = scene.serve(&[]);
    let second = scene.firecracker(&["--api-sock", "api"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    kill(Pid::from_raw(served.pid() as i32), Signal::SIGKILL).unwrap();
    served.end().unwrap();
    assert!(socket.exists());
    // Better than there, where its starter had to remove it.
    drop(scene.serve(&[]));
    assert!(Api::connect(&socket).is_err());
}

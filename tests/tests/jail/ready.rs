//! Ready is told, not asked for: by a descriptor, or to a service manager.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::process::Owned;

use super::scene::{PATIENCE, Scene, vmm};

const READY: &str = "READY=1\n";

/// The same command with a descriptor 9 that writes to `to`; what it says it says to nobody.
fn with_descriptor(command: &Command, to: &Path) -> Command {
    let mut with = Command::new("bash");
    with.args(["-c", "exec 9>\"$0\" && exec \"$@\""]).arg(to);
    with.arg(command.get_program()).args(command.get_args());
    with.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    with
}

/// What comes by a FIFO until its last writer has gone.
fn hear(fifo: &Path) -> String {
    let mut said = String::new();
    File::open(fifo).unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_descriptor_says_that_the_api_listens_whoever_is_between() {
    let fifos = tempfile::tempdir().unwrap();
    let flags = [&["--ready-fd", "9"][..], &["--ready-fd", "9", "--new-pid-ns"]];
    for (nth, flags) in flags.into_iter().enumerate() {
        let fifo = fifos.path().join(nth.to_string());
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let scene = Scene::new();
        let _program = Owned::spawn(&mut with_descriptor(&scene.command(flags), &fifo)).unwrap();
        assert_eq!(hear(&fifo), READY);
        // At once: nobody waits for it to listen any more.
        tests::api::Api::connect(&scene.socket()).unwrap().get("/").unwrap();
        super::kill(scene.pid());
    }
}

#[test]
fn a_service_manager_hears_it_and_who_its_main_process_is() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut said = [0; 256];
        let len = manager.recv(&mut said).unwrap();
        String::from_utf8(said[..len].to_vec()).unwrap()
    };
    let scene = Scene::new();
    let mut jail = scene.command(&["--new-pid-ns"]);
    let ended =
        jail.env("NOTIFY_SOCKET", folder.path().join("notify")).stderr(Stdio::null()).status();
    assert!(ended.unwrap().success());
    assert_eq!(hear(), format!("MAINPID={}\n", scene.pid()));
    assert_eq!(hear(), READY);
    super::kill(scene.pid());

    // Without a jail.
    let socket = folder.path().join("api");
    let mut plain = Command::new(vmm());
    plain.arg("--api-sock").arg(&socket).env("NOTIFY_SOCKET", folder.path().join("notify"));
    let _plain = Owned::spawn(plain.stdin(Stdio::null()).stdout(Stdio::null())).unwrap();
    assert_eq!(hear(), READY);
    assert!(fs::metadata(&socket).is_ok());
}

#[test]
fn a_jail_whose_service_manager_is_not_there_is_not_made() {
    let scene = Scene::new();
    let output = scene.command(&[]).env("NOTIFY_SOCKET", "/nowhere/notify").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("$NOTIFY_SOCKET /nowhere/notify"), "{said}");
}

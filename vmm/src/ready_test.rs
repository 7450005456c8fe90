//! Tests of who is told that the machine runs.

use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd};

use super::*;

#[test]
fn a_pipe_hears_it_once_and_is_closed() {
    let (mut hears, tells) = io::pipe().unwrap();
    let ready = Ready::take(&[tells.into_raw_fd()]).unwrap();
    Ready { manager: None, ..ready }.tell();
    let mut said = String::new();
    hears.read_to_string(&mut said).unwrap();
    assert_eq!(said, "READY=1\n");
}

#[test]
fn a_socket_hears_it_by_its_path_and_by_an_abstract_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("vmm-ready-test-{}", std::process::id());
    let by_path = UnixDatagram::bind(&path).unwrap();
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
    for (socket, manager) in
        [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())]
    {
        Ready { descriptors: Vec::new(), manager: Some(connect(manager.as_bytes())) }.tell();
        let mut said = [0; 64];
        let len = socket.recv(&mut said).unwrap();
        assert_eq!(&said[..len], READY);
    }
}

#[test]
fn what_cannot_be_written_to_is_refused() {
    let (hears, tells) = io::pipe().unwrap();
    let twice = tells.as_raw_fd();
    for wrong in [&[0][..], &[2], &[-1], &[i32::MAX], &[hears.as_raw_fd()]] {
        let error = Ready::take(wrong).unwrap_err();
        assert!(error.to_string().starts_with(&format!("--ready-fd {}: ", wrong[0])), "{error}");
    }
    // The first is taken, and closed.
    let _ = tells.into_raw_fd();
    Ready::take(&[twice, twice]).unwrap_err();
}

#[test]
fn who_has_gone_does_not_stop_the_machine() {
    let (hears, tells) = io::pipe().unwrap();
    drop(hears);
    let ready = Ready::take(&[tells.into_raw_fd()]).unwrap();
    Ready { manager: Some(connect(b"/nowhere/notify")), ..ready }.tell();
}

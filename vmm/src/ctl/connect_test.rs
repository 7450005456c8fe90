//! Tests of the way into a guest.

use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

/// What comes of a vsock that hears `CONNECT 52` and answers so.
fn against(answer: &'static [u8]) -> Result<UnixStream, ConnectError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let vsock = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = [0; 11];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"CONNECT 52\n");
        stream.write_all(answer).unwrap();
    });
    let stream = connect(&path, 52);
    vsock.join().unwrap();
    stream
}

#[test]
fn what_follows_the_consent_is_the_guests() {
    let mut stream = against(b"OK 1073741824\nlogin: ").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "login: ");
}

#[test]
fn a_refusal_and_nonsense_are_told() {
    for answer in [&b""[..], b"OK", b"NO 1\n", &[b'x'; 100]] {
        let error = against(answer).unwrap_err();
        assert!(error.to_string().contains("vsock port 52"), "{error}");
    }
    let error = connect(Path::new("/nowhere/v.sock"), 52).unwrap_err();
    assert!(error.to_string().contains("/nowhere/v.sock"), "{error}");
}

//! Tests of what a new socket may replace, and what it leaves.

use super::*;

#[test]
fn a_socket_is_for_its_owner_alone_and_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api");
    let socket = ApiSocket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(ApiSocket::bind(&path), Err(BindError::InUse { .. })));
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let socket = ApiSocket::bind(&stale).unwrap();

    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&stale, &link).unwrap();
    for path in [&file, &link, &folder.path().to_path_buf()] {
        assert!(matches!(ApiSocket::bind(path), Err(BindError::NotASocket { .. })), "{path:?}");
    }
    let nowhere = folder.path().join("no/where");
    assert!(matches!(ApiSocket::bind(&nowhere), Err(BindError::Make { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    // Someone took the path away and used it: that is not ours to remove.
    fs::remove_file(&stale).unwrap();
    fs::write(&stale, "theirs").unwrap();
    drop(socket);
    assert!(stale.exists());
}

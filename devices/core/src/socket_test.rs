//! Tests of what a new socket may replace, of many who want one path, and of what is left.

use std::sync::mpsc;

use super::*;

#[test]
fn a_socket_is_for_its_owner_alone_and_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api");
    let socket = ListeningSocket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.listener().accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(matches!(ListeningSocket::bind(&path), Err(BindError::InUse { .. })));
    drop(UnixStream::connect(&path).unwrap());
    assert!(socket.listener().accept().is_ok());
    drop(socket);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no lock is left either");
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let socket = ListeningSocket::bind(&stale).unwrap();

    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&stale, &link).unwrap();
    for path in [&file, &link, &folder.path().to_path_buf()] {
        let refused = ListeningSocket::bind(path);
        assert!(matches!(refused, Err(BindError::NotASocket { .. })), "{path:?}");
    }
    let nowhere = folder.path().join("no/where");
    assert!(matches!(ListeningSocket::bind(&nowhere), Err(BindError::Make { .. })));
    let long = folder.path().join("l".repeat(200));
    assert!(matches!(ListeningSocket::bind(&long), Err(BindError::Make { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    // Someone took the path away and used it: that is not ours to remove.
    fs::remove_file(&stale).unwrap();
    fs::write(&stale, "theirs").unwrap();
    drop(socket);
    assert!(stale.exists());
}

/// One who found the socket stale is slow to remove it, and another comes meanwhile.
#[test]
fn of_two_who_find_a_stale_socket_one_gets_it_and_the_other_hears_that_it_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stale");
    drop(UnixListener::bind(&path).unwrap());
    let (is_slow, slow) = mpsc::channel();
    let (go_on, waits) = mpsc::channel();
    let (there, ours) = (path.clone(), path.clone());
    let first = thread::spawn(move || {
        ListeningSocket::bind_when(&there, || {
            is_slow.send(()).unwrap();
            waits.recv().unwrap();
        })
    });
    slow.recv().unwrap();
    let second = thread::spawn(move || ListeningSocket::bind(&ours));
    // Long enough for the second to have done all it would do without taking turns.
    thread::sleep(Duration::from_millis(50));
    go_on.send(()).unwrap();
    let first = first.join().unwrap().unwrap();
    assert!(matches!(second.join().unwrap(), Err(BindError::InUse { .. })));
    drop(UnixStream::connect(&path).unwrap());
    assert!(first.listener().accept().is_ok(), "the one who has it is reachable");
}

#[test]
fn of_many_who_want_one_path_one_gets_it() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        if round % 2 == 0 {
            drop(UnixListener::bind(&path).unwrap());
        }
        let all: Vec<_> = thread::scope(|scope| {
            let start = || scope.spawn(|| ListeningSocket::bind(&path));
            let started: Vec<_> = (0..8).map(|_| start()).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let got: Vec<_> = all.iter().filter_map(|one| one.as_ref().ok()).collect();
        assert_eq!(got.len(), 1, "{all:?}");
        drop(UnixStream::connect(&path).unwrap());
        assert!(got[0].listener().accept().is_ok());
        let others = all.iter().filter_map(|one| one.as_ref().err());
        assert!(
            others.into_iter().all(|error| matches!(error, BindError::InUse { .. })),
            "{all:?}"
        );
    }
}

#[test]
fn a_lock_that_a_killed_process_left_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("api.lock"), "").unwrap();
    let socket = ListeningSocket::bind(&folder.path().join("api")).unwrap();
    drop(socket);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

//! Threads under rules, on the kernel of this machine.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;

use super::*;

/// On a thread of its own, which is the only one to be restricted.
fn aside(f: impl FnOnce() + Send + 'static) {
    std::thread::spawn(f).join().unwrap();
}

fn is_refused<T>(result: io::Result<T>) -> bool {
    matches!(result.map(drop), Err(error) if error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn a_thread_without_rights_opens_and_makes_nothing() {
    // A kernel without it has nothing to test.
    let Ok(abi) = version() else { return };
    aside(move || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        super::super::install::no_new_privileges().unwrap();
        Rules::new(abi).unwrap().restrict().unwrap();
        assert!(is_refused(File::open(&path)));
        assert!(is_refused(fs::write(folder.path().join("new"), "text")));
        assert!(is_refused(fs::remove_file(&path)));
        assert!(is_refused(fs::read_dir("/")));
    });
}

#[test]
fn what_is_granted_is_granted_beneath_the_folder_alone() {
    let Ok(abi) = version() else { return };
    aside(move || {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&inside, &outside] {
            fs::write(folder.path().join("file"), "text").unwrap();
        }
        super::super::install::no_new_privileges().unwrap();
        let mut rules = Rules::new(abi).unwrap();
        let place = File::open(inside.path()).unwrap();
        rules.grant(place.as_fd(), READ_FILE | REMOVE_FILE).unwrap();
        rules.restrict().unwrap();
        let inside = inside.path().join("file");
        assert!(File::open(&inside).is_ok());
        assert!(is_refused(fs::write(&inside, "other")));
        assert!(fs::remove_file(&inside).is_ok());
        let outside = outside.path().join("file");
        assert!(is_refused(File::open(&outside)) && is_refused(fs::remove_file(&outside)));
    });
}

#[test]
fn a_port_that_is_granted_can_be_connected_to_and_no_other() {
    let Ok(abi @ 4..) = version() else { return };
    aside(move || {
        let [one, other] = [(), ()].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = [&one, &other].map(|waits| waits.local_addr().unwrap());
        super::super::install::no_new_privileges().unwrap();
        let mut rules = Rules::new(abi).unwrap();
        rules.grant_connect(one.port()).unwrap();
        rules.restrict().unwrap();
        assert!(is_refused(std::net::TcpStream::connect(other)));
        // The listeners have gone with their block.
        let refused = std::net::TcpStream::connect(one).map(drop);
        assert!(!is_refused(refused));
    });
}

#[test]
fn newer_versions_restrict_no_less() {
    for abi in 1..NEWEST {
        assert_eq!(all_rights(abi) & !all_rights(abi + 1), 0);
    }
    assert_eq!(all_rights(NEWEST).count_ones(), 16);
}

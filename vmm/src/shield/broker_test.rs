//! The broker as a process: what it opens, and what it does not, however it is asked.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::*;

const NEW: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;

/// Sealed to a folder; tests have more than one thread, but none holds what the broker uses.
fn broker(mode: Mode) -> (tempfile::TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(mode).unwrap();
    broker.seal(&[folder.path().to_path_buf()]).unwrap();
    (folder, broker)
}

#[test]
fn files_come_from_the_places_and_from_nowhere_else() {
    for mode in [Mode::Kill, Mode::Off] {
        let (folder, broker) = broker(mode);
        let path = folder.path().join("image");
        fs::write(&path, "text").unwrap();
        let file = broker.open(&path, libc::O_RDONLY).unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "text");
        let error = broker.open(Path::new("/etc/passwd"), libc::O_RDONLY).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
        assert!(text.contains("--allow-path"), "{text}");
        let missing = broker.open(&folder.path().join("nothing"), libc::O_RDONLY).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn of_many_places_each_is_one_and_one_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let places: Vec<_> = (0..20).map(|n| folder.path().join(format!("place-{n}"))).collect();
    places.iter().for_each(|place| fs::create_dir(place).unwrap());
    let broker = Broker::start(Mode::Kill).unwrap();
    fs::remove_dir(&places[5]).unwrap();
    let error = broker.seal(&places).unwrap_err();
    assert!(error.to_string().contains("place-5:"), "{error}");
    // Answers are heard by who asked: nothing is left of those before.
    fs::create_dir(&places[5]).unwrap();
    broker.seal(&places).unwrap();
    places.iter().for_each(|place| drop(broker.open(&place.join("new"), NEW).unwrap()));
}

#[test]
fn a_file_is_made_once_and_removed_only_by_its_maker() {
    let (folder, broker) = broker(Mode::Kill);
    let (path, other) = (folder.path().join("capture"), folder.path().join("other"));
    fs::write(&other, "precious").unwrap();
    broker.open(&path, NEW).unwrap().write_all(b"frames").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(broker.open(&path, NEW).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(broker.remove_new(&other).is_err());
    broker.remove_new(&path).unwrap();
    assert!(broker.remove_new(&path).is_err() && !path.exists() && other.exists());
    // Somebody else's is in its place.
    broker.open(&path, NEW).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(broker.remove_new(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_file_that_was_made_takes_the_place_of_another_once() {
    for mode in [Mode::Kill, Mode::Off] {
        let (folder, broker) = broker(mode);
        let (new, place) = (folder.path().join("new"), folder.path().join("place"));
        fs::write(&place, "old").unwrap();
        assert!(broker.publish(&place, &new).is_err(), "nobody made it here");
        broker.open(&new, NEW).unwrap().write_all(b"new").unwrap();
        broker.publish(&new, &place).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert!(broker.publish(&place, &new).is_err() && broker.remove_new(&place).is_err());
        broker.retire(&place).unwrap();
        broker.retire(&place).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_elsewhere_or_could_not_be_written_either_stays() {
    let (folder, broker) = broker(Mode::Kill);
    let outside = tempfile::tempdir().unwrap();
    let (new, theirs) = (folder.path().join("new"), outside.path().join("theirs"));
    fs::write(&theirs, "precious").unwrap();
    broker.open(&new, NEW).unwrap();
    assert!(broker.publish(&new, &theirs).is_err() && broker.retire(&theirs).is_err());
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    let deep = folder.path().join("deep");
    fs::create_dir(&deep).unwrap();
    assert!(broker.retire(&deep).is_err() && broker.publish(&new, &deep).is_err());
    let other_folder = broker.publish(&new, &deep.join("new")).unwrap_err();
    assert_eq!(other_folder.raw_os_error(), Some(libc::EXDEV));
}

#[test]
fn what_could_do_harm_when_it_is_opened_is_only_looked_at() {
    let (folder, broker) = broker(Mode::Kill);
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert!(broker.open(&pipe, libc::O_PATH).unwrap().metadata().is_ok());
    assert!(broker.open(&pipe, libc::O_RDONLY).is_err());
    for flags in [libc::O_TRUNC, libc::O_APPEND, libc::O_CREAT, libc::O_TMPFILE, libc::O_SYNC] {
        let path = folder.path().join("new");
        assert!(broker.open(&path, libc::O_RDWR | flags).is_err(), "{flags:#o}");
        assert!(!path.exists());
    }
}

#[test]
fn places_are_given_once() {
    let (folder, broker) = broker(Mode::Kill);
    assert!(broker.ask(&Ask::Allow(Path::new("/etc"))).is_err());
    assert!(broker.ask(&Ask::Seal).is_err());
    assert!(broker.open(Path::new("/etc/passwd"), libc::O_RDONLY).is_err());
    drop(folder);
    let unsealed = Broker::start(Mode::Kill).unwrap();
    assert!(unsealed.open(Path::new("/etc/passwd"), libc::O_RDONLY).is_err());
    let nowhere = unsealed.seal(&[PathBuf::from("/no/where")]).unwrap_err();
    assert!(nowhere.to_string().contains("/no/where"), "{nowhere}");
}

#[test]
fn a_guest_is_connected_with_sockets_beside_its_own_and_with_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(Mode::Kill).unwrap();
    assert!(broker.dial(52).is_err(), "it has not been told where");
    broker.dial_beside(&at("v.sock")).unwrap();
    broker.seal(&[]).unwrap();
    assert!(broker.dial_beside(&at("other.sock")).is_err());
    assert_eq!(broker.dial(52).unwrap_err().kind(), io::ErrorKind::NotFound);

    let listener = UnixListener::bind(at("v.sock_52")).unwrap();
    let stream = broker.dial(52).unwrap();
    listener.accept().unwrap().0.write_all(b"text").unwrap();
    stream.set_nonblocking(false).unwrap();
    assert_eq!(io::read_to_string(stream).unwrap(), "text");

    std::os::unix::fs::symlink(at("v.sock_52"), at("v.sock_53")).unwrap();
    fs::write(at("v.sock_54"), "text").unwrap();
    assert!(broker.dial(53).is_err() && broker.dial(54).is_err());
    drop(listener);
    assert_eq!(broker.dial(52).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn taps_are_opened_only_where_that_was_allowed() {
    let (_folder, broker) = broker(Mode::Kill);
    let refused = broker.tap("tap0", 1, None).unwrap_err().to_string();
    assert!(refused.contains("/dev/net/tun: it is not where"), "{refused}");
    assert!(refused.contains("--allow-path"), "{refused}");
}

#[test]
fn a_machine_goes_to_sockets_in_its_places_and_by_tcp_where_that_was_allowed() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |folder: &tempfile::TempDir, name: &str| Address::Unix(folder.path().join(name));
    let waits = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = waits.local_addr().unwrap();
    let broker = Broker::start(Mode::Kill).unwrap();
    assert!(broker.connect(&at(&inside, "s")).is_err(), "it has no places yet");
    broker.reach(&format!("127.0.0.1:{}", address.port()).parse().unwrap()).unwrap();
    broker.seal(&[inside.path().to_path_buf()]).unwrap();
    assert!(broker.reach(&"*:22".parse().unwrap()).is_err());

    let sockets = [&inside, &outside].map(|folder| UnixListener::bind(folder.path().join("s")));
    let stream = UnixStream::from(broker.connect(&at(&inside, "s")).unwrap());
    sockets[0].as_ref().unwrap().accept().unwrap().0.write_all(b"text").unwrap();
    stream.set_nonblocking(false).unwrap();
    assert_eq!(io::read_to_string(stream).unwrap(), "text");
    let refused = broker.connect(&at(&outside, "s")).unwrap_err().to_string();
    assert!(refused.contains("--allow-path"), "{refused}");
    std::os::unix::fs::symlink(outside.path().join("s"), inside.path().join("link")).unwrap();
    assert!(broker.connect(&at(&inside, "link")).is_err());
    fs::write(inside.path().join("file"), "text").unwrap();
    assert!(broker.connect(&at(&inside, "file")).is_err());
    assert!(broker.connect(&at(&inside, "nothing")).is_err());

    let stream = TcpStream::from(broker.connect(&Address::Tcp(address)).unwrap());
    waits.accept().unwrap().0.write_all(b"text").unwrap();
    stream.set_nonblocking(false).unwrap();
    assert_eq!(io::read_to_string(stream).unwrap(), "text");
    let other = Address::Tcp("127.0.0.1:9".parse().unwrap());
    let refused = broker.connect(&other).unwrap_err().to_string();
    assert!(refused.contains("--allow-tcp 127.0.0.1:9"), "{refused}");
}

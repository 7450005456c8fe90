//! Screens on every kind of descriptor: none may wait, none may change what others share.

use std::io::Read;

use super::*;
use crate::console::testing::{Pty, flags_of};

/// Writes until nothing goes; returns how much went.
fn fill(screen: &mut Screen) -> usize {
    std::iter::from_fn(|| screen.write(&[b'.'; 1024]).unwrap()).sum()
}

fn shared(fd: impl Into<std::os::fd::OwnedFd>) -> Screen {
    Screen::shared(File::from(fd.into())).unwrap()
}

#[test]
fn a_shared_pipe_fills_up_without_waiting_and_stays_as_it_was() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = flags_of(&writer);
    let mut screen = shared(writer.try_clone().unwrap());
    assert_eq!(screen.manner, Manner::NonBlocking, "opened anew");
    let filled = fill(&mut screen);
    assert!(filled >= 4096);
    assert_eq!(flags_of(&writer), flags);
    drop((screen, writer));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), filled);
}

#[test]
fn a_pipe_that_cannot_be_opened_anew_does_not_wait_either() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut screen =
        Screen { file: File::from(std::os::fd::OwnedFd::from(writer)), manner: Manner::Shared };
    let filled = fill(&mut screen);
    assert!(filled >= 4096);
    let mut some = [0; 8192];
    reader.read_exact(&mut some).unwrap();
    assert!(screen.can_write(Duration::from_secs(10)));
    assert!(screen.write(b"more").unwrap().is_some());
}

#[test]
fn a_terminal_that_nobody_watches_does_not_wait() {
    let pty = Pty::open();
    let mut screen = shared(pty.terminal());
    assert_eq!(screen.manner, Manner::NonBlocking);
    assert!(fill(&mut screen) > 0);
}

#[test]
fn a_shared_file_is_appended_to_where_others_left_off() {
    let mut file = tempfile::tempfile().unwrap();
    let mut screen = shared(file.try_clone().unwrap());
    assert_eq!(screen.manner, Manner::NeverWaits);
    file.write_all(b"ours, ").unwrap();
    screen.write(b"the guest's, ").unwrap();
    file.write_all(b"ours").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut all = String::new();
    file.read_to_string(&mut all).unwrap();
    assert_eq!(all, "ours, the guest's, ours");
}

#[test]
fn a_reader_that_is_gone_is_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut screen = shared(writer);
    drop(reader);
    assert_eq!(screen.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

//! Outputs on every kind of descriptor: none may wait, none may change what others share, and what
//! fails is told once.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// Status flags of an open file, `O_NONBLOCK` among them.
fn flags_of(file: &impl AsFd) -> String {
    let info = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(info).unwrap();
    info.lines().find(|line| line.starts_with("flags")).unwrap().to_owned()
}

/// Writes until nothing goes; returns how much went.
fn fill(output: &mut Output) -> usize {
    std::iter::from_fn(|| output.write(&[b'.'; 1024]).unwrap()).sum()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fifo(&self) -> PathBuf {
        let path = self.path("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

/// The reading end of a FIFO, which never waits.
fn reader(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

fn read_all(file: &mut File) -> String {
    let mut text = Vec::new();
    // Ends as nothing more is there.
    let _ = file.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_shared_pipe_fills_up_without_waiting_and_stays_as_it_was() {
    let (mut reader, writer) = io::pipe().unwrap();
    let flags = flags_of(&writer);
    let mut output = Output::shared(writer.try_clone().unwrap().into()).unwrap();
    assert_eq!(output.manner, Manner::NonBlocking, "opened anew");
    let filled = fill(&mut output);
    assert!(filled >= 4096);
    assert_eq!(flags_of(&writer), flags);
    drop((output, writer));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), filled);
}

#[test]
fn a_pipe_that_cannot_be_opened_anew_does_not_wait_either() {
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let mut output = Output { file, manner: Manner::Shared, named: false };
    let filled = fill(&mut output);
    assert!(filled >= 4096);
    let mut some = [0; 8192];
    reader.read_exact(&mut some).unwrap();
    assert!(output.can_write(Duration::from_secs(10)));
    assert!(output.write(b"more").unwrap().is_some());
}

#[test]
fn a_shared_file_is_appended_to_where_others_left_off() {
    let mut file = tempfile::tempfile().unwrap();
    let mut output = Output::shared(file.try_clone().unwrap().into()).unwrap();
    assert_eq!(output.manner, Manner::NeverWaits);
    file.write_all(b"ours, ").unwrap();
    output.write(b"the guest's, ").unwrap();
    file.write_all(b"ours").unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let mut all = String::new();
    file.read_to_string(&mut all).unwrap();
    assert_eq!(all, "ours, the guest's, ours");
}

#[test]
fn a_pipes_reader_that_is_gone_ends_it_and_a_full_disk_does_not() {
    let (reader, writer) = io::pipe().unwrap();
    let mut output = Output::shared(writer.into()).unwrap();
    drop(reader);
    let error = output.write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(output.is_over(&error));

    let mut full = Output::own(open(Path::new("/dev/full"), Before::Kept).unwrap());
    let error = full.write(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(!full.is_over(&error));
}

#[test]
fn a_file_is_private_kept_or_emptied_and_appended_to_whatever_cuts_it_short() {
    let folder = Folder::new();
    let path = folder.path("file");
    let mut output = Output::own(open(&path, Before::Kept).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    output.write(b"first").unwrap();
    let mut again = Output::own(open(&path, Before::Kept).unwrap());
    again.write(b" second").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"first second");
    // As logrotate's copytruncate does.
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    output.write(b"third").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"third", "no hole");
    drop(open(&path, Before::Emptied).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[test]
fn a_fifo_needs_no_reader_and_survives_each_of_them() {
    let folder = Folder::new();
    let path = folder.fifo();
    let mut output = Output::own(open(&path, Before::Emptied).unwrap());
    assert!(fill(&mut output) >= 4096, "nobody reads, and nobody waits");
    for word in ["one", "two", "three"] {
        let mut reader = reader(&path);
        read_all(&mut reader);
        output.write(word.as_bytes()).unwrap();
        assert_eq!(read_all(&mut reader), word);
    }
    output.write(b"without a reader").unwrap();
}

#[test]
fn a_socket_is_no_file_to_write_to() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = open(&path, Before::Kept).unwrap_err();
    assert!(error.to_string().contains("is a socket"), "{error}");
}

#[test]
fn no_line_is_torn_and_the_first_that_is_lost_is_told() {
    let folder = Folder::new();
    let path = folder.fifo();
    let mut lines = Lines::new(Output::own(open(&path, Before::Kept).unwrap()));
    // Longer than what goes into a pipe at once or not at all.
    let line = |at: u32| format!("{at:>9999}\n");
    let mut fates = Vec::new();
    for at in 0..20 {
        fates.push(lines.write(line(at).as_bytes()));
    }
    let written = fates.iter().take_while(|fate| matches!(fate, Fate::Written { .. })).count();
    assert!((3..10).contains(&written), "{written}");
    assert!(matches!(&fates[written], Fate::Lost { first: Some(_) }));
    assert!(fates[written + 1..].iter().all(|fate| matches!(fate, Fate::Lost { first: None })));
    let mut reader = reader(&path);
    let mut text = read_all(&mut reader);
    let lost = 20 - written as u64;
    match lines.write(b"after\n") {
        Fate::Written { lost_before } => assert_eq!(lost_before, lost),
        fate => panic!("{fate:?}"),
    }
    text += &read_all(&mut reader);
    let expected: String = (0..written as u32).map(line).collect();
    assert!(text == expected + "after\n", "whole lines only");
}

#[test]
fn lines_to_a_full_disk_are_lost_without_an_end() {
    let mut lines = Lines::new(Output::own(open(Path::new("/dev/full"), Before::Kept).unwrap()));
    match lines.write(b"one\n") {
        Fate::Lost { first: Some(error) } => assert_eq!(error.kind(), ErrorKind::StorageFull),
        fate => panic!("{fate:?}"),
    }
    assert!(matches!(lines.write(b"two\n"), Fate::Lost { first: None }));
}

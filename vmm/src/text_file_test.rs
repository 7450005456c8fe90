//! Tests of texts by all that can carry one.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::*;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn text(path: impl AsRef<Path>, patience: Duration) -> Result<String, String> {
    let text = read(path.as_ref(), 1000, patience).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(text).unwrap())
}

/// A FIFO that is made anew.
fn fifo(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)
        .unwrap();
    path
}

#[test]
fn a_file_is_read_whole_also_one_that_has_no_name_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "a").unwrap();
    assert_eq!(text(&path, SHORT).as_deref(), Ok("a"));
    // As a shell keeps a here-document.
    let kept = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text(format!("/dev/fd/{}", kept.as_raw_fd()), SHORT).as_deref(), Ok("a"));
}

#[test]
fn a_pipe_is_read_until_its_writers_are_gone() {
    let (reader, mut writer) = io::pipe().unwrap();
    let writing = std::thread::spawn(move || {
        for part in ["some", " ", "text"] {
            writer.write_all(part.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert_eq!(text(path, LONG).as_deref(), Ok("some text"));
    writing.join().unwrap();
}

#[test]
fn a_fifo_waits_for_its_first_writer_and_no_longer_than_patience() {
    let folder = tempfile::tempdir().unwrap();
    let path = fifo(&folder);
    assert!(text(&path, SHORT).unwrap_err().contains("did not end within 0.3 s"));
    let late = path.clone();
    let writing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        std::fs::write(late, "late").unwrap();
    });
    assert_eq!(text(&path, LONG).as_deref(), Ok("late"));
    writing.join().unwrap();
}

#[test]
fn what_does_not_end_is_not_waited_for_and_what_is_too_large_is_not_kept() {
    let (reader, mut writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    writer.write_all(b"{").unwrap();
    assert!(text(&path, SHORT).unwrap_err().contains("did not end"));
    writer.write_all(&[b' '; 1001]).unwrap();
    for endless in [path.as_str(), "/dev/zero"] {
        let error = read(Path::new(endless), 1000, LONG).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge(1000)), "{endless}: {error}");
    }
}

#[test]
fn what_is_no_text_of_a_user_is_refused_with_its_kind() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let fd = |fd: i32| format!("/proc/self/fd/{fd}");
    for (path, said) in [
        ("/tmp".to_string(), "a directory"),
        ("/nowhere".to_string(), "cannot be read"),
        (fd(terminal.slave.as_raw_fd()), "a terminal"),
        (fd(socket.as_raw_fd()), "cannot be read"),
    ] {
        let error = text(&path, SHORT).unwrap_err();
        assert!(error.contains(said), "{path}: {error}");
    }
}

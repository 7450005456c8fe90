//! A small text of the user, however it comes: by a regular file, a pipe, a FIFO or standard input.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why there is no such text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is a directory; name a file in it")]
    Directory,
    #[error("it is a terminal; name a file or a pipe")]
    Terminal,
    #[error("it is larger than {} KiB", .0 >> 10)]
    TooLarge(usize),
    #[error("it did not end within {} s; a pipe ends when all who write to it have closed it", .0.as_secs_f32())]
    TooSlow(Duration),
}

/// All that `path` holds, at most `most` bytes, which must have come and ended within `patience`.
pub fn read(path: &Path, most: usize, patience: Duration) -> Result<Vec<u8>, ReadError> {
    // A FIFO that nobody writes to yet would keep a plain open waiting.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = options.open(path)?;
    if file.metadata()?.is_dir() {
        return Err(ReadError::Directory);
    }
    if file.is_terminal() {
        return Err(ReadError::Terminal);
    }
    let deadline = Instant::now() + patience;
    let mut text = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        if !wait(&file, deadline)? {
            return Err(ReadError::TooSlow(patience));
        }
        match file.read(&mut part) {
            Ok(0) => return Ok(text),
            Ok(len) if text.len() + len > most => return Err(ReadError::TooLarge(most)),
            Ok(len) => text.extend_from_slice(&part[..len]),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether there is something to read, or the end, before `deadline`. A FIFO has no end before its
/// first writer.
fn wait(file: &File, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, open while `file` is borrowed.
        match unsafe { libc::poll(&raw mut poll, 1, left) } {
            -1 => match io::Error::last_os_error() {
                error if is_passing(&error) => {}
                error => return Err(error),
            },
            ready => return Ok(ready > 0),
        }
    }
}

#[cfg(test)]
#[path = "text_file_test.rs"]
mod tests;

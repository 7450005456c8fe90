//! One place to write to, whatever it is: a file, a FIFO, a socket, a terminal.
//!
//! Opening and writing are apart: [`open`] makes an open file of a path, and may as well be done by
//! another process that hands it over; an [`Output`] writes bytes to any open file, and [`Lines`]
//! writes whole lines to an output. No write waits, none ends the process: whatever the host's
//! reason (a full disk, a limit on file sizes, a reader that is slow or gone), the writer goes on
//! and says so once.

mod lines;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub use lines::{Fate, Lines};

use crate::ready;

/// Written at once to a descriptor that may not be made non-blocking: so little goes into a pipe
/// that polls as writable (POSIX promises `PIPE_BUF`, 512 or more), and into a terminal as a rule.
const SMALL: usize = 256;

/// What becomes of what a file already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It stays, and what is written comes behind it.
    Kept,
    /// The file is cut to 0 bytes. A FIFO or a terminal is left as it is.
    Emptied,
}

/// Opens `path` to append to; makes it, with mode 0600, if there is none. Never waits. A FIFO may
/// have no reader yet, and lose its reader later: what it has no room for is lost. Fails if it cannot be
/// made or opened for writing, and for a socket.
pub fn open(path: &Path, before: Before) -> io::Result<File> {
    let attempt = |read, create| {
        OpenOptions::new()
            .read(read)
            .write(true)
            .create(create)
            .truncate(before == Before::Emptied)
            .mode(0o600)
            // Appended even where something else cuts the file short meanwhile.
            .custom_flags(libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
    };
    // With both ends of a FIFO it needs no reader. Made only if it is not there: the kernel may
    // refuse O_CREAT for what is another user's.
    let opened = match attempt(true, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => attempt(true, true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => attempt(false, false),
        other => other,
    };
    opened.map_err(|error| match std::fs::metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            io::Error::new(error.kind(), "it is a socket, which cannot be written as a file")
        }
        _ => error,
    })
}

/// How a write is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// A regular file, or a device without a queue.
    NeverWaits,
    /// The open file is ours alone, and non-blocking.
    NonBlocking,
    /// A socket that others use too.
    SharedSocket,
    /// Others use the open file too; setting it non-blocking would surprise them, also after us.
    Shared,
}

/// An open file that is only written to.
#[derive(Debug)]
pub struct Output {
    file: File,
    manner: Manner,
    /// It has a path, by which a new reader may come.
    named: bool,
}

impl Output {
    /// A file that [`open`] opened.
    pub fn own(file: File) -> Output {
        Output { file, manner: Manner::NonBlocking, named: true }
    }

    /// A socket's client, already non-blocking.
    pub fn client(stream: UnixStream) -> Output {
        let file = File::from(OwnedFd::from(stream));
        Output { file, manner: Manner::NonBlocking, named: false }
    }

    /// A descriptor that was inherited, and that others may be using too. Fails if the host does not say
    /// what it is.
    pub fn shared(fd: OwnedFd) -> io::Result<Output> {
        let file = File::from(fd);
        let kind = file.metadata()?.file_type();
        let output = |file, manner| Output { file, manner, named: false };
        if kind.is_socket() {
            return Ok(output(file, Manner::SharedSocket));
        }
        if !kind.is_fifo() && !file.is_terminal() {
            return Ok(output(file, Manner::NeverWaits));
        }
        // Opened anew, terminals and pipes get an open file of our own, with flags of its own.
        let again = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(match again {
            Ok(own) => output(own, Manner::NonBlocking),
            Err(_) => output(file, Manner::Shared),
        })
    }

    /// Writes what goes without waiting; `None` if nothing does. Fails if the host refuses;
    /// [`Output::is_over`] tells whether for good.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let result = match self.manner {
            Manner::NeverWaits | Manner::NonBlocking => self.file.write(bytes),
            Manner::SharedSocket => ready::send_now(self.file.as_fd(), bytes),
            Manner::Shared if !self.can_write(Duration::ZERO) => return Ok(None),
            Manner::Shared => self.file.write(bytes.get(..SMALL).unwrap_or(bytes)),
        };
        match result {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Waits up to `wait` until a write may go; whether it may.
    pub fn can_write(&self, wait: Duration) -> bool {
        ready::can_write(self.file.as_fd(), wait)
    }

    /// Whether a write that failed with `error` shows that none will ever go through: the reader of
    /// a pipe or socket is gone, or the terminal. What else fails may work again: a disk gets room.
    pub fn is_over(&self, error: &io::Error) -> bool {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => !self.named,
            _ => {
                self.file.metadata().is_ok_and(|there| !there.is_file())
                    && ready::has_hung_up(&self.file)
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;

//! Where the guest's output is written: never waits, whatever the descriptor is.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Written at once to a descriptor that may not be made non-blocking: so little goes into a pipe
/// that polls as writable (POSIX promises `PIPE_BUF`, 512 or more), and into a terminal as a rule.
const SMALL: usize = 256;

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

#[derive(Debug)]
pub(super) struct Screen {
    file: File,
    manner: Manner,
}

impl Screen {
    /// A file that was opened for the console, non-blocking.
    pub fn own(file: File) -> Screen {
        Screen { file, manner: Manner::NonBlocking }
    }

    /// A client of the console's socket, already non-blocking.
    pub fn client(stream: UnixStream) -> Screen {
        Screen { file: File::from(std::os::fd::OwnedFd::from(stream)), manner: Manner::NonBlocking }
    }

    /// A descriptor that was inherited, and that others may be using too.
    pub fn shared(file: File) -> io::Result<Screen> {
        let kind = file.metadata()?.file_type();
        let waits = kind.is_fifo() || std::io::IsTerminal::is_terminal(&file);
        if kind.is_socket() {
            return Ok(Screen { file, manner: Manner::SharedSocket });
        }
        if !waits {
            return Ok(Screen { file, manner: Manner::NeverWaits });
        }
        // Opened anew, terminals and pipes get an open file of our own, with flags of its own.
        let again = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(match again {
            Ok(own) => Screen::own(own),
            Err(_) => Screen { file, manner: Manner::Shared },
        })
    }

    /// Writes what goes without waiting; `None` if nothing does.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let result = match self.manner {
            Manner::NeverWaits | Manner::NonBlocking => self.file.write(bytes),
            Manner::SharedSocket => super::tty::send_now(self.file.as_fd(), bytes),
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

    /// Waits until a write may go.
    pub fn can_write(&self, wait: Duration) -> bool {
        super::tty::can_write(self.file.as_fd(), wait)
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
#[path = "screen_test.rs"]
mod tests;

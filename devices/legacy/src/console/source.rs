//! Where input for the guest comes from: read only when it has something.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use device_core::ready;

use super::tty::runs_in_background;

/// An input of the console.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    is_terminal: bool,
}

/// What a read gave.
pub(super) enum Input {
    Bytes(usize),
    Nothing,
    End,
}

impl Source {
    /// A descriptor that was inherited. Its flags stay as they are: others may be using it too.
    pub fn shared(fd: OwnedFd) -> Source {
        let file = File::from(fd);
        let is_terminal = file.is_terminal();
        Source { file, is_terminal }
    }

    /// A socket's client, already non-blocking.
    pub fn client(stream: UnixStream) -> Source {
        Source { file: File::from(OwnedFd::from(stream)), is_terminal: false }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Reads what is there, without waiting.
    pub fn read(&mut self, into: &mut [u8]) -> Input {
        // Regular files and closed descriptors poll as readable.
        if !ready::can_read(self.file.as_fd(), Duration::ZERO) {
            return Input::Nothing;
        }
        match self.file.read(into) {
            Ok(0) => Input::End,
            Ok(count) => Input::Bytes(count),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Input::Nothing,
                // Someone else is in the foreground of the terminal since we looked.
                _ if self.is_terminal && runs_in_background(self.file.as_fd()) => Input::Nothing,
                // A terminal that hung up, for one.
                _ => Input::End,
            },
        }
    }

    /// Another descriptor of it. Fails if the host has none left.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

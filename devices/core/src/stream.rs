//! A connected Unix stream socket that never waits: bytes go between it and guest memory by the kernel's
//! copy alone.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::ready;
use crate::scatter::Scatter;
use crate::unix::{self, Address};

/// Most pieces of memory that go with one call; what is behind them goes with the next.
const PIECES: usize = 64;

/// One end of a connection. Every call fails with `WouldBlock` where it would have to wait.
#[derive(Debug)]
pub struct Stream(UnixStream);

impl Stream {
    /// Connects to the socket at `path`. Fails with `WouldBlock` if so many wait there that there is no
    /// room for one more, and otherwise if nobody listens.
    pub fn connect(path: &Path) -> io::Result<Stream> {
        let address = Address::of(path)?;
        let socket = unix::socket()?;
        address.connect(socket.as_fd())?;
        Ok(Stream(UnixStream::from(socket)))
    }

    /// One that a listener accepted.
    pub fn of(stream: UnixStream) -> Stream {
        Stream(stream)
    }

    /// Sends what `from` holds behind its first `skip` bytes; returns how many bytes went, which is less
    /// than all if the socket is full or the pieces are many. Fails with `BrokenPipe`, but no signal, if
    /// the other end is gone.
    pub fn send_from(&self, from: &Scatter, skip: usize) -> io::Result<usize> {
        let (mut pieces, mut message) = (no_pieces(), no_message());
        gather(&mut message, &mut pieces, from, skip);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message names pieces that `from` keeps mapped, and nothing else.
        count(unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, flags) })
    }

    /// Fills `into` from its beginning; returns how many bytes came, 0 at the end of the stream. Fails
    /// with `ConnectionReset` if the other end closed without having read all that was sent to it.
    pub fn receive_into(&self, into: &Scatter) -> io::Result<usize> {
        let (mut pieces, mut message) = (no_pieces(), no_message());
        gather(&mut message, &mut pieces, into, 0);
        // SAFETY: the message names pieces that `into` keeps mapped, and nothing else.
        let received =
            unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let received = count(received)?;
        into.wrote(0, received);
        Ok(received)
    }

    /// Looks at what comes next and leaves it there; returns how many bytes it is, 0 at the end of the
    /// stream.
    pub fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.receive(bytes, libc::MSG_PEEK)
    }

    /// Takes what comes next; returns how many bytes it is, 0 at the end of the stream.
    pub fn take(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.receive(bytes, 0)
    }

    /// As [`ready::send_now`].
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        ready::send_now(self.0.as_fd(), bytes)
    }

    /// Ends one direction. It may have ended already.
    pub fn shut(&self, direction: Shutdown) {
        // It fails only if the other end is gone, and then that direction has ended.
        let _ = self.0.shutdown(direction);
    }

    fn receive(&self, bytes: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
        let (fd, flags) = (self.0.as_raw_fd(), flags | libc::MSG_DONTWAIT);
        // SAFETY: the pointer and length are those of `bytes`.
        count(unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), flags) })
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> OwnedFd {
        stream.0.into()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn no_pieces() -> [libc::iovec; PIECES] {
    [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PIECES]
}

fn no_message() -> libc::msghdr {
    // SAFETY: all zeroes are a message of nothing, from nobody.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn gather(
    message: &mut libc::msghdr,
    pieces: &mut [libc::iovec; PIECES],
    memory: &Scatter,
    skip: usize,
) {
    let places = pieces.iter_mut().zip(memory.iovecs(skip));
    message.msg_iovlen = places.map(|(place, piece)| *place = piece).count() as _; // musl has an int
    message.msg_iov = pieces.as_mut_ptr();
}

fn count(bytes: isize) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod tests;

//! Whether a descriptor can be read or written without waiting, a send that never waits, and a wait for nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Waits up to `wait` until a read gives data, an end or an error at once.
pub fn can_read(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    poll(fd, libc::POLLIN, wait)
}

/// Waits up to `wait` until a small write goes through or fails at once.
pub fn can_write(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    poll(fd, libc::POLLOUT, wait)
}

/// Whether the other end is closed for good.
pub fn has_hung_up(file: &impl AsFd) -> bool {
    poll(file.as_fd(), 0, Duration::ZERO)
}

/// Waits for a while, by a call that every thread has for other reasons; a signal may cut it short.
pub fn pause(wait: Duration) {
    let none = std::ptr::null_mut();
    // SAFETY: no descriptor is looked at.
    unsafe { libc::poll(none, 0, millis(wait)) };
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

fn poll(fd: BorrowedFd<'_>, events: libc::c_short, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let wait = millis(wait);
    // SAFETY: one valid pollfd. An interrupted wait counts as none.
    unsafe { libc::poll(&raw mut poll, 1, wait) > 0 }
}

/// Sends on a socket without waiting, whatever mode others have set it to; returns how many bytes went.
/// Fails with `WouldBlock` if there is no room, and with `BrokenPipe`, but no signal, if the other end is
/// gone.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and length are those of `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

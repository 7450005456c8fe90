//! The few calls on terminals and descriptors that std does not offer, and the only unsafe code here.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

/// A terminal as it was before raw mode.
struct Before {
    fd: RawFd,
    modes: libc::termios,
}

/// The one terminal in raw mode, if any. A signal handler or panic hook may take it at any time.
static RAW: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

/// A terminal in raw mode; dropping it brings the old modes back.
#[derive(Debug)]
pub(super) struct RawMode {
    /// Keeps the descriptor in `RAW` open.
    _terminal: OwnedFd,
}

impl RawMode {
    /// Puts a terminal into raw mode: every key comes at once, unechoed and without meaning to the
    /// kernel. Output processing stays on, so that line feeds of log lines still return the carriage.
    /// Only one terminal at a time can be raw.
    pub fn enter(terminal: OwnedFd) -> io::Result<RawMode> {
        let fd = terminal.as_raw_fd();
        let mut modes = MaybeUninit::uninit();
        // SAFETY: `fd` is open and `modes` has room for a termios.
        check(unsafe { libc::tcgetattr(fd, modes.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded and filled it.
        let modes = unsafe { modes.assume_init() };

        // Never freed: `restore_terminal` may be reading it on another thread. Once per process.
        let before = Box::into_raw(Box::new(Before { fd, modes }));
        if RAW
            .compare_exchange(ptr::null_mut(), before, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: from `into_raw` above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(before) });
            return Err(io::Error::other("another terminal is in raw mode"));
        }
        // From here on dropping restores, also if the change itself fails half way.
        let raw_mode = RawMode { _terminal: terminal };
        let mut raw = modes;
        raw.c_iflag &= !(libc::IGNBRK
            | libc::BRKINT
            | libc::PARMRK
            | libc::ISTRIP
            | libc::INLCR
            | libc::IGNCR
            | libc::ICRNL
            | libc::IXON);
        raw.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        // SAFETY: `fd` is open and `raw` a whole termios.
        check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const raw) })?;
        Ok(raw_mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Brings the terminal back to the modes it had before the console made it raw; does nothing if
/// there is none. For exits that skip destructors: call it in a panic hook, before `process::exit`,
/// in a handler of a deadly signal. Async-signal-safe, and harmless to call twice.
pub fn restore_terminal() {
    let before = RAW.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: null or a `Before` that is never freed once it is in `RAW`.
    let Some(before) = (unsafe { before.as_ref() }) else { return };
    // SAFETY: `RawMode` keeps the descriptor open until it has been here; the termios is whole.
    unsafe {
        // A background process that sets modes is stopped; its shell has set its own by then.
        if !is_in_background(before.fd) {
            libc::tcsetattr(before.fd, libc::TCSANOW, &raw const before.modes);
        }
    }
}

/// Whether the process is in the background of this terminal, its controlling one: reading from it
/// or changing its modes would stop the process.
pub(super) fn runs_in_background(terminal: BorrowedFd<'_>) -> bool {
    is_in_background(terminal.as_raw_fd())
}

fn is_in_background(fd: RawFd) -> bool {
    // SAFETY: no memory is involved; a bad or foreign descriptor gives -1.
    let foreground = unsafe { libc::tcgetpgrp(fd) };
    // SAFETY: always succeeds.
    foreground > 0 && foreground != unsafe { libc::getpgrp() }
}

/// The descriptor of an eventfd.
pub(super) fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `event`, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// Waits up to `wait` until a read gives data, an end or an error at once.
pub(super) fn can_read(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    poll(fd, libc::POLLIN, wait)
}

/// Waits up to `wait` until a small write goes through or fails at once.
pub(super) fn can_write(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    poll(fd, libc::POLLOUT, wait)
}

/// Whether the other end is closed for good.
pub(super) fn has_hung_up(file: &impl AsFd) -> bool {
    let mut poll = libc::pollfd { fd: file.as_fd().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

fn poll(fd: BorrowedFd<'_>, events: libc::c_short, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd. An interrupted wait counts as none.
    unsafe { libc::poll(&raw mut poll, 1, wait) > 0 }
}

/// Sends on a socket without waiting, whatever mode others have set it to.
pub(super) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and length are those of `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[path = "tty_test.rs"]
mod tests;

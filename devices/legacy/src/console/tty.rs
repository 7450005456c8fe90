//! The few calls on terminals that std does not offer, and the only unsafe code here.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A terminal as it was before raw mode.
struct Before {
    fd: RawFd,
    modes: libc::termios,
}

/// The one terminal in raw mode, if any. A signal handler or panic hook may take it at any time.
static RAW: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

/// A terminal in raw mode; dropping it brings the old modes back.
#[derive(Debug)]
pub struct RawMode {
    /// Keeps the descriptor in `RAW` open.
    terminal: OwnedFd,
}

impl RawMode {
    /// Puts a terminal into raw mode: every key comes at once, unechoed and without meaning to the
    /// kernel. Output processing stays on, so that line feeds of log lines still return the carriage.
    /// Only one terminal at a time can be raw. Fails if one is, or the host does not say or set the modes.
    pub fn enter(terminal: OwnedFd) -> io::Result<RawMode> {
        let fd = terminal.as_raw_fd();
        let modes = modes_of(fd)?;
        // Never freed: `restore_terminal` may be reading it on another thread. Once per process, and
        // once more each time that a person brings it back to the foreground.
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
        let raw_mode = RawMode { terminal };
        set_modes(fd, &raw(modes))?;
        Ok(raw_mode)
    }

    /// Raw again, after others had the terminal. What they left it in is brought back in the end,
    /// unless that is what we made it ourselves. Fails if the host does not say or set the modes.
    pub fn renew(&self) -> io::Result<()> {
        let fd = self.terminal.as_raw_fd();
        let modes = modes_of(fd)?;
        if modes.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG) != 0 {
            let before = Box::into_raw(Box::new(Before { fd, modes }));
            RAW.store(before, Ordering::Release);
        }
        set_modes(fd, &raw(modes))
    }
}

fn modes_of(fd: RawFd) -> io::Result<libc::termios> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: `modes` has room for a termios; a bad descriptor is an error.
    check(unsafe { libc::tcgetattr(fd, modes.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded and filled it.
    Ok(unsafe { modes.assume_init() })
}

fn set_modes(fd: RawFd, modes: &libc::termios) -> io::Result<()> {
    // SAFETY: a whole termios; a bad descriptor is an error.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, modes) })
}

/// The modes made raw.
fn raw(mut modes: libc::termios) -> libc::termios {
    modes.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    modes.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    modes.c_cc[libc::VMIN] = 1;
    modes.c_cc[libc::VTIME] = 0;
    modes
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

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[path = "tty_test.rs"]
mod tests;

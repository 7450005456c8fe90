//! Pseudo terminals for tests: the person at the far end of a console.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Raw mode is one per process; tests that use it take turns.
pub fn one_raw_terminal_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends of a terminal.
pub struct Pty {
    person: File,
    terminal: OwnedFd,
}

impl Pty {
    pub fn open() -> Pty {
        let (mut person, mut terminal) = (-1, -1);
        // SAFETY: both results are valid to write, and nothing else is asked for.
        let result = unsafe {
            libc::openpty(&mut person, &mut terminal, ptr::null_mut(), ptr::null(), ptr::null())
        };
        assert_eq!(result, 0);
        // SAFETY: fresh descriptors, owned by nobody else.
        unsafe {
            Pty { person: File::from_raw_fd(person), terminal: OwnedFd::from_raw_fd(terminal) }
        }
    }

    /// The end that a console gets.
    pub fn terminal(&self) -> OwnedFd {
        self.terminal.try_clone().unwrap()
    }

    pub fn modes(&self) -> libc::termios {
        let mut modes = MaybeUninit::uninit();
        // SAFETY: the descriptor is open and the result has room.
        unsafe {
            assert_eq!(libc::tcgetattr(self.terminal.as_raw_fd(), modes.as_mut_ptr()), 0);
            modes.assume_init()
        }
    }

    /// All that a user may have set.
    pub fn settings(&self) -> (u32, u32, u32, u32, [u8; libc::NCCS]) {
        let modes = self.modes();
        (modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag, modes.c_cc)
    }

    /// Sets them, as a shell does.
    pub fn set(&self, settings: &(u32, u32, u32, u32, [u8; libc::NCCS])) {
        let mut modes = self.modes();
        (modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag, modes.c_cc) = *settings;
        // SAFETY: the descriptor is open and the modes are whole.
        let result = unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, &modes) };
        assert_eq!(result, 0);
    }

    /// Flags of the open file that a console got.
    pub fn flags(&self) -> i32 {
        flags_of(&self.terminal)
    }

    /// The person is gone.
    pub fn hang_up(self) {}

    pub fn type_keys(&self, keys: &[u8]) {
        (&self.person).write_all(keys).unwrap();
    }

    /// Reads what is shown until it ends with `end`; fails the test after ten seconds of silence.
    pub fn shows(&self, end: &[u8]) -> Vec<u8> {
        read_until(&self.person, end)
    }
}

/// Status flags of an open file, `O_NONBLOCK` among them.
pub fn flags_of(file: &impl AsFd) -> i32 {
    // SAFETY: the descriptor is open; no memory is involved.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETFL) }
}

/// Reads until what was read ends with `end`; fails the test after ten seconds of silence.
pub fn read_until<F: AsFd>(file: &F, end: &[u8]) -> Vec<u8>
where
    for<'a> &'a F: Read,
{
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let text = String::from_utf8_lossy(&read).into_owned();
        let ready = device_core::ready::can_read(file.as_fd(), Duration::from_secs(10));
        assert!(ready, "waited in vain for {:?} after {text:?}", String::from_utf8_lossy(end));
        let mut bytes = [0; 4096];
        let mut file = file;
        let count = file.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "the end, after {text:?}");
        read.extend(&bytes[..count]);
    }
    read
}

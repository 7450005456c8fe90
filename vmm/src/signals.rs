//! Signals as events of the main loop.

mod abort;
mod deadly;
pub mod me;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What asks a process to end.
const ENDING: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];
/// As those, unless who started the process had them ignored, as `nohup` does.
const ENDING_IF_HEARD: [libc::c_int; 2] = [libc::SIGHUP, libc::SIGQUIT];

pub use deadly::{leave, leave_clean_when_killed, tidy};

/// Lets a write beyond the limit on file sizes fail, instead of killing the process. Call it before
/// anything is written.
pub fn survive_file_limits() {
    ignore(libc::SIGXFSZ);
}

/// A process that was forked hears of its own children again, and is called `name` like others.
pub fn begin_anew(name: &str) {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: no handler is installed; the kernel reads a C string.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
}

fn ignore(signal: libc::c_int) {
    // SAFETY: no handler is installed, and no memory involved.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The signals that ask a process to end, or tell that it is stopped or goes on, read from a descriptor instead of interrupting a thread.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals in the calling thread and all it will start, so call it first.
    pub fn block() -> io::Result<Signals> {
        // Reading from a terminal in its background fails then, instead of stopping the process.
        ignore(libc::SIGTTIN);
        let stopping = [libc::SIGTSTP].into_iter().filter(|&signal| !is_ignored(signal));
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `set` is written by sigemptyset before anything reads it; the descriptor that
        // signalfd returns is checked, and owned by nobody else.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let heard = ENDING_IF_HEARD.into_iter().filter(|&signal| !is_ignored(signal));
            for signal in ENDING.into_iter().chain(heard).chain(stopping).chain([libc::SIGCONT]) {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let errno = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Signals(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next pending signal's number.
    pub fn next(&self) -> Option<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let len = size_of::<libc::signalfd_siginfo>();
        // SAFETY: reads at most `len` bytes into `info`, which is as long.
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), len) };
        // SAFETY: the kernel writes whole records only, so `info` is initialised.
        (got == len as isize).then(|| unsafe { info.assume_init() }.ssi_signo as i32)
    }

    /// Stops the process as SIGTSTP does that nobody took; returns when it goes on. It is not stopped
    /// if nobody could make it go on.
    pub fn stop_process(&self) {
        let_through(libc::SIGTSTP);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Ends the process by a signal that was read, as if nobody had; returns if it is one that does not end it.
pub fn die_by(signal: libc::c_int) {
    let_through(signal);
}

/// Sends the calling thread a signal that is blocked, and unblocks it for that moment.
fn let_through(signal: libc::c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is written by sigemptyset before anything reads it; the process ends, or stops as
    // a whole, while its signal is unblocked.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        me::send(me::thread(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the disposition, into `action`, which is valid when zeroed.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

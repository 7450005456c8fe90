//! Who the calling thread is, for handlers of signals, without a system call where it has none left for that.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, Ordering};

static PROCESS: AtomicI32 = AtomicI32::new(0);

thread_local! {
    static THREAD: Cell<libc::pid_t> = const { Cell::new(0) };
}

/// Remembers the calling thread's number, and the process's.
pub fn remember() {
    THREAD.set(thread());
    PROCESS.store(process(), Ordering::Relaxed);
}

/// The calling thread's number. Async-signal-safe.
pub fn thread() -> libc::pid_t {
    match THREAD.get() {
        // SAFETY: always succeeds.
        0 => unsafe { libc::gettid() },
        known => known,
    }
}

/// The process's number. Async-signal-safe.
pub fn process() -> libc::pid_t {
    match PROCESS.load(Ordering::Relaxed) {
        // SAFETY: always succeeds.
        0 => unsafe { libc::getpid() },
        known => known,
    }
}

/// Sends a signal to a thread of this process. Async-signal-safe.
pub fn send(thread: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_tgkill, process(), thread, signal) };
}

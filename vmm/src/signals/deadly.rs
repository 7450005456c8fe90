//! Signals that kill: the terminal and the sockets are brought into order first.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use device_core::socket;

use super::is_ignored;

/// Those that kill a process by default and are not read as events, besides real-time signals.
const KILLING: [libc::c_int; 14] = [
    libc::SIGABRT,
    libc::SIGALRM,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGIO,
    libc::SIGPROF,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGVTALRM,
    libc::SIGXCPU,
];

/// Bad accesses to memory, for which the run-time library has handlers that tell an overflow of a stack.
const FAULTS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
static BEFORE: [AtomicPtr<libc::sigaction>; 2] =
    [const { AtomicPtr::new(ptr::null_mut()) }; FAULTS.len()];

/// Exit codes in place of death by a signal.
static CODES: OnceLock<&[(libc::c_int, u8)]> = OnceLock::new();

/// From here on a signal that kills the process leaves neither a raw terminal nor sockets behind. The
/// process still ends by that signal, or with its exit code of `codes`. Those that its starter had ignored
/// stay so. Handlers that are installed later take a signal over.
pub fn leave_clean_when_killed(codes: &'static [(libc::c_int, u8)]) {
    let _ = CODES.set(codes);
    for (signal, before) in FAULTS.into_iter().zip(&BEFORE) {
        before.store(Box::into_raw(Box::new(install(signal))), Ordering::Release);
    }
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for signal in KILLING.into_iter().chain(real_time).filter(|&signal| !is_ignored(signal)) {
        install(signal);
    }
}

/// Installs the handler, on a stack of its own if the thread has one; returns what was there.
fn install(signal: libc::c_int) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both are valid when zeroed; the handler is async-signal-safe.
    unsafe {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            on_deadly;
        (*action.as_mut_ptr()).sa_sigaction = handler as libc::sighandler_t;
        (*action.as_mut_ptr()).sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut (*action.as_mut_ptr()).sa_mask);
        libc::sigaction(signal, action.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

/// Async-signal-safe: system calls and atomics only.
extern "C" fn on_deadly(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    devices::legacy::restore_terminal();
    socket::remove_all();
    let codes = CODES.get().copied().unwrap_or_default();
    if let Some((_, code)) = codes.iter().find(|(of, _)| *of == signal) {
        say(signal);
        // SAFETY: no memory is involved, and nothing returns.
        unsafe { libc::_exit((*code).into()) };
    }
    // SAFETY: the kernel gives a whole siginfo.
    let is_fault = unsafe { (*info).si_code } > 0;
    let before = FAULTS.iter().position(|&fault| fault == signal).filter(|_| is_fault);
    if let Some(before) = before.and_then(|at| BEFORE.get(at)) {
        // SAFETY: null or never freed.
        if let Some(before) = unsafe { before.load(Ordering::Acquire).as_ref() } {
            // It happens again when this handler returns, to the one that was there before.
            // SAFETY: a whole action.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
            return;
        }
    }
    if signal != libc::SIGABRT {
        // Who aborts has said why.
        say(signal);
    }
    // SAFETY: no memory is involved. The signal is blocked until this handler returns, and kills then.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Says which signal it was, if standard error takes it without waiting.
fn say(signal: libc::c_int) {
    let digit = |number: libc::c_int| b'0' + (number % 10) as u8;
    let mut line = *b"vmm: killed by signal 00\n";
    line[22] = digit(signal / 10);
    line[23] = digit(signal);
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd, and the bytes of `line`.
    unsafe {
        if libc::poll(&raw mut poll, 1, 0) > 0 {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        }
    }
}

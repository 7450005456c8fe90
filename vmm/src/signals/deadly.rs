//! Signals that kill: the terminal and the sockets are brought into order first, by the main thread. Others are
//! shut in and cannot; they send it a signal and wait.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use device_core::{socket, thread};

use super::{is_ignored, me};
use crate::shield::violation;

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
/// The signal in whose place the process exits once all is in order, and above its 8 bits the code; 0 without one.
static EXIT: AtomicI32 = AtomicI32::new(0);

/// The main thread, once it takes care.
static MAIN: AtomicI32 = AtomicI32::new(0);
/// Whether all is in order, for those who wait for it.
static TIDY: AtomicU32 = AtomicU32::new(0);
/// What nobody wakes: the process ends first.
static NEVER: AtomicU32 = AtomicU32::new(0);
/// How long a thread waits for the main thread, which may be stuck in the host.
const PATIENCE: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };

/// The signal by which a thread asks the main one: the second of those for us, behind the kick of vCPUs.
fn please_tidy() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

/// The exit code in place of death by `signal`, if there is one: the face's, or our own of a call that a filter
/// stopped. The first process of a namespace dies by a fault, but by no signal that it sends to itself: it exits with
/// the code by which a shell tells of one.
fn code_of(signal: libc::c_int, is_fault: bool) -> Option<u8> {
    let codes = CODES.get().copied().unwrap_or_default();
    let code = codes.iter().find(|(of, _)| *of == signal).map(|(_, code)| *code);
    let first = !is_fault && me::process() == 1;
    code.or(violation::is_noted().then_some(violation::EXIT_CODE))
        .or(first.then_some(128 | (signal as u8 & 0x7f)))
}

/// Call it on the main thread. From here on a signal that kills the process leaves neither a raw terminal nor
/// sockets behind. The process still ends by that signal, or with its exit code of `codes`. Those that its starter
/// had ignored stay so. Handlers that are installed later take a signal over.
pub fn leave_clean_when_killed(codes: &'static [(libc::c_int, u8)]) {
    let _ = CODES.set(codes);
    MAIN.store(me::thread(), Ordering::Release);
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

/// Brings the terminal and the sockets into order, on whatever thread. Async-signal-safe.
pub fn tidy() {
    let main = MAIN.load(Ordering::Acquire);
    if main == 0 || main == me::thread() {
        tidy_here();
        return;
    }
    me::send(main, please_tidy());
    let word = match EXIT.load(Ordering::Acquire) {
        0 => &TIDY,
        // All may have been in order before.
        _ => &NEVER,
    };
    let (word, private) = (word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
    // SAFETY: the word and the time live for ever; who is woken early is content with what was done till then.
    unsafe { libc::syscall(libc::SYS_futex, word, private, 0, ptr::from_ref(&PATIENCE)) };
}

/// The same on the main thread. If a filter stopped a thread, the process ends here.
fn tidy_here() {
    devices::legacy::restore_terminal();
    socket::remove_all();
    let exit = EXIT.load(Ordering::Acquire);
    if exit != 0 {
        exit_for(exit & 0xff, (exit >> 8) as u8);
    }
    TIDY.store(1, Ordering::Release);
    let private = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives for ever.
    unsafe { libc::syscall(libc::SYS_futex, TIDY.as_ptr(), private, libc::c_int::MAX) };
}

/// Says what it was, and ends the process with a code.
fn exit_for(signal: libc::c_int, code: u8) -> ! {
    match violation::is_noted() {
        true => print(violation::line().bytes()),
        // Who aborts has said why.
        false if signal == libc::SIGABRT => {}
        false => say(signal),
    }
    if thread::stays() && MAIN.load(Ordering::Acquire) != me::thread() {
        // The main thread is stuck, and no other has a call to give a code by.
        me::send(me::thread(), libc::SIGKILL);
    }
    // SAFETY: ends the process, without anything that a handler may not do.
    unsafe { libc::_exit(code.into()) }
}

/// Async-signal-safe: system calls and atomics only.
extern "C" fn on_deadly(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a whole siginfo.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    if signal == please_tidy() && code == libc::SI_TKILL && sender == me::process() {
        tidy_here();
        return;
    }
    let main = MAIN.load(Ordering::Acquire);
    if code <= 0 && signal != libc::SIGABRT && main != 0 && main != me::thread() {
        // It was sent to the process, and the main thread is the one to end it.
        me::send(main, signal);
        return;
    }
    // SAFETY: as above.
    unsafe { violation::note(signal, info) };
    let is_fault = code > 0;
    exit_or_tidy(signal, is_fault);
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
        say(signal);
    }
    // It is blocked until this handler returns, and kills then.
    die_by(signal);
}

/// Ends the process if it is to exit with a code in place of death by `signal`; else brings all into order.
fn exit_or_tidy(signal: libc::c_int, is_fault: bool) {
    let exit = code_of(signal, is_fault);
    if let Some(code) = exit {
        EXIT.store(signal | libc::c_int::from(code) << 8, Ordering::Release);
    }
    tidy();
    if let Some(code) = exit {
        // The main thread would have ended the process.
        exit_for(signal, code);
    }
}

fn die_by(signal: libc::c_int) {
    // As the kernel has it: no handler, flags, restorer or mask. Of SIGABRT musl's function changes the thread's mask besides.
    let default = [libc::SIG_DFL, 0, 0, 0];
    let (action, none) = (default.as_ptr(), ptr::null_mut::<usize>());
    // SAFETY: the kernel reads a whole action, whose mask has 8 bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, none, size_of::<u64>()) };
    me::send(me::thread(), signal);
}

/// Ends the process by SIGABRT, of which nobody is told any more: there may be no room left on the stack for one more
/// handler. Async-signal-safe.
pub fn abort() -> ! {
    exit_or_tidy(libc::SIGABRT, false);
    die_by(libc::SIGABRT);
    // Only where that is blocked.
    me::send(me::thread(), libc::SIGKILL);
    // SAFETY: ends the process, or the filter does that stops it.
    unsafe { libc::_exit(128 | libc::SIGABRT) }
}

/// Ends the process with `code` once all is in order, for a thread that knows of a reason that the main thread has not
/// heard in time, as it waits for something that does not come. Says `line`.
pub fn leave(line: &str, code: u8) {
    print(b"vmm: ");
    print(line.as_bytes());
    print(b"\n");
    // Who aborts has said why: so has this.
    EXIT.store(libc::SIGABRT | libc::c_int::from(code) << 8, Ordering::Release);
    tidy();
    // The main thread would have ended the process.
    exit_for(libc::SIGABRT, code);
}

/// Says which signal it was.
fn say(signal: libc::c_int) {
    let digit = |number: libc::c_int| b'0' + (number % 10) as u8;
    let mut line = *b"vmm: killed by signal 00\n";
    line[22] = digit(signal / 10);
    line[23] = digit(signal);
    print(&line);
}

/// Writes to standard error, if that takes it without waiting.
fn print(line: &[u8]) {
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd, and the bytes of `line`.
    unsafe {
        if libc::poll(&raw mut poll, 1, 0) > 0 {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        }
    }
}

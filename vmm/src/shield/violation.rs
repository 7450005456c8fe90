//! A system call that a filter stopped: who made it, which, from where, in one line.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};

use super::names;

/// Code that the process ends with.
pub const EXIT_CODE: u8 = 6;
/// Of SIGSYS: it comes from a filter (asm-generic/siginfo.h).
const SYS_SECCOMP: libc::c_int = 1;

/// Longest name that the kernel has for a thread.
const NAME: usize = 15;
type Name = ([u8; NAME], usize);

thread_local! {
    /// What the thread is called; a handler of signals has no other way to know.
    static CALLED: Cell<Name> = const { Cell::new(([0; NAME], 0)) };
}

/// Remembers what the calling thread is called.
pub fn remember_name() {
    let thread = std::thread::current();
    let mut called = ([0; NAME], 0);
    for (to, from) in called.0.iter_mut().zip(thread.name().unwrap_or("?").bytes()) {
        *to = if from.is_ascii_graphic() || from == b' ' { from } else { b'?' };
        called.1 += 1;
    }
    CALLED.set(called);
}

/// The first violation, for whoever says it.
struct Noted {
    taken: AtomicBool,
    call: AtomicI32,
    instruction: AtomicUsize,
    name: [AtomicU8; NAME],
    /// With its length it is whole.
    len: AtomicUsize,
}

static NOTED: Noted = Noted {
    taken: AtomicBool::new(false),
    call: AtomicI32::new(0),
    instruction: AtomicUsize::new(0),
    name: [const { AtomicU8::new(0) }; NAME],
    len: AtomicUsize::new(0),
};

/// What the kernel tells with SIGSYS.
#[repr(C)]
struct SigSys {
    /// Number, error, code, and what aligns the rest.
    common: [libc::c_int; 4],
    instruction: usize,
    call: libc::c_int,
}

/// Whether a signal is of a filter; notes the call then, unless another thread's was first. Async-signal-safe.
///
/// # Safety
/// `info` is what the kernel gave with a signal.
pub unsafe fn note(signal: libc::c_int, info: *const libc::siginfo_t) -> bool {
    // SAFETY: the kernel gives a whole siginfo.
    if signal != libc::SIGSYS || unsafe { (*info).si_code } != SYS_SECCOMP {
        return false;
    }
    if NOTED.taken.swap(true, Ordering::AcqRel) {
        return true;
    }
    // SAFETY: with that signal and code the kernel fills these; a siginfo is larger.
    let SigSys { call, instruction, .. } = unsafe { info.cast::<SigSys>().read() };
    NOTED.call.store(call, Ordering::Relaxed);
    NOTED.instruction.store(instruction, Ordering::Relaxed);
    let (name, len) = CALLED.get();
    NOTED.name.iter().zip(name).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
    NOTED.len.store(len, Ordering::Release); // pairs with the load in `line`
    true
}

/// Whether there was one.
pub fn is_noted() -> bool {
    NOTED.taken.load(Ordering::Acquire)
}

/// The line of the one that was noted. Async-signal-safe.
pub fn line() -> Line {
    let len = NOTED.len.load(Ordering::Acquire);
    let mut name = [0; NAME];
    name.iter_mut().zip(&NOTED.name).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
    let name = std::str::from_utf8(name.get(..len).unwrap_or_default()).unwrap_or("?");
    let call = NOTED.call.load(Ordering::Relaxed);
    Line::of(name, call, NOTED.instruction.load(Ordering::Relaxed))
}

/// Text in place: no memory can be had in a handler.
pub struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    fn of(thread: &str, call: libc::c_int, instruction: usize) -> Line {
        let mut line = Line { bytes: [0; 256], len: 0 };
        let name = u32::try_from(call).ok().and_then(names::name).unwrap_or("unknown");
        // What has no room is left out.
        let _ = writeln!(
            line,
            "vmm: thread {thread} was stopped: it made system call {call} ({name}) at {instruction:#x}, which it never needs"
        );
        line
    }

    /// The text, with its line feed.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let to = room.get_mut(..text.len()).ok_or(fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_a_line_with_thread_call_and_instruction() {
        let line = Line::of("net-eth0-0", libc::SYS_execve as i32, 0x7f00_1234);
        assert_eq!(
            std::str::from_utf8(line.bytes()).unwrap(),
            "vmm: thread net-eth0-0 was stopped: it made system call 59 (execve) at 0x7f001234, which it never needs\n"
        );
        let line = Line::of("?", -1, usize::MAX);
        assert!(std::str::from_utf8(line.bytes()).unwrap().contains("system call -1 (unknown)"));
    }
}

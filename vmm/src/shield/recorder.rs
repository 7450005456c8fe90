//! Which rows of the table a process uses, for a run of the tests. Not in any release.
//!
//! ```text
//!  filter     what a row allows is asked about: RET_TRACE, with the row's place in the table and the kind of thread
//!  tracer     a process beside it, which lets each such call go on and writes down by which row it was made
//! ```
//! With a folder in `VMM_ROWS` in the environment, a process begins by starting a tracer for itself and all that comes of it; it keeps its number
//! and its parent. The tracer writes a line to a file of its own for each that is new to it: kind of thread, call, and
//! the values of the arguments that the row checks. What has no tracer is let through as ever.

use std::collections::HashSet;
use std::ffi::{OsString, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::process::exit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{SECCOMP_RET_TRACE, pid_t, user_regs_struct};

use super::names;
use super::row::{Check, Kind};
use super::table;

/// Where lines go.
const FOLDER: &str = "VMM_ROWS";
/// Bits of the answer's data that are the row's place; the kind is above them.
const PLACE_BITS: u32 = 12;
/// The first descriptor that is no standard one.
const FIRST: libc::c_int = 3;

/// Whether somebody lets calls go on.
static TRACED: AtomicBool = AtomicBool::new(false);

/// The answer of a filter to what a row allows a kind of thread; none if nobody would let it go on.
pub fn answer(kind: Kind, place: usize) -> Option<u32> {
    let kind = Kind::ALL.iter().position(|known| *known == kind)?;
    let data = u16::try_from(kind << PLACE_BITS | place).ok()?;
    TRACED.load(Ordering::Relaxed).then_some(SECCOMP_RET_TRACE | u32::from(data))
}

/// Starts the tracer, if the environment asks for it and there is none. Call it while there is one thread and nothing is open.
pub fn begin() {
    // What is started in a jail has a tracer already, and no environment.
    let traced = is_traced() || std::env::var_os(FOLDER).is_some_and(start);
    TRACED.store(traced, Ordering::Relaxed);
}

/// Runs `body` in a process that ends with it; whether it was well.
fn in_a_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        0 => exit(if body() { 0 } else { 1 }),
        child => {
            let mut status = 0;
            // SAFETY: a child of ours, if there is one; a number is written.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

/// Children of who is traced are as well, and cannot ask for it once more.
fn is_traced() -> bool {
    // SAFETY: no memory is involved; the child ends at once.
    in_a_child(|| unsafe { libc::ptrace(libc::PTRACE_TRACEME) } == -1)
}

/// Whether a tracer has this process now. It is nobody's child here, so that nobody here waits for it.
fn start(folder: OsString) -> bool {
    // SAFETY: no memory is involved.
    let own = unsafe { libc::getpid() };
    // Where the host lets only parents trace.
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let Ok((mut heard, mut told)) = std::io::pipe() else { return false };
    let begun = in_a_child(|| {
        // SAFETY: there is one thread.
        match unsafe { libc::fork() } {
            0 => {
                let options = libc::PTRACE_O_TRACESECCOMP
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_TRACEFORK
                    | libc::PTRACE_O_TRACEVFORK
                    | libc::PTRACE_O_EXITKILL;
                let name = Path::new(&folder).join(std::process::id().to_string());
                let file = File::options().create(true).append(true).open(name);
                // SAFETY: plain numbers.
                let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, own, 0, options) } == 0;
                let (Ok(file), true) = (file, seized) else { exit(1) };
                let _ = told.write_all(&[1]);
                exit(trace(keep_only(&file)))
            }
            child => child > 0,
        }
    });
    drop(told);
    begun && heard.read(&mut [0]).is_ok_and(|len| len == 1)
}

/// Who reads from this process's outputs would wait for the tracer's end as well.
fn keep_only(file: &File) -> File {
    // SAFETY: nothing that is closed is used again; the first is the file's alone then.
    unsafe {
        libc::setsid();
        libc::dup2(file.as_raw_fd(), FIRST);
        libc::close_range(FIRST.unsigned_abs().saturating_add(1), u32::MAX, 0);
        libc::close_range(0, 2, 0);
        File::from_raw_fd(FIRST)
    }
}

/// Lets all go on until the last has ended.
fn trace(mut file: File) -> i32 {
    let mut known = HashSet::new();
    loop {
        let mut status = 0;
        // SAFETY: a number is written.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid < 0 {
            return 0;
        }
        if !libc::WIFSTOPPED(status) {
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
        let (request, signal) = match status >> 16 {
            libc::PTRACE_EVENT_SECCOMP => {
                note(pid, &mut known, &mut file);
                (libc::PTRACE_CONT, 0)
            }
            libc::PTRACE_EVENT_STOP if stops => (libc::PTRACE_LISTEN, 0),
            0 => (libc::PTRACE_CONT, signal),
            _ => (libc::PTRACE_CONT, 0),
        };
        // It may have been killed meanwhile.
        // SAFETY: plain numbers.
        unsafe { libc::ptrace(request, pid, 0, signal) };
    }
}

/// Writes down what the thread `pid` is about to do, unless it is known.
fn note(pid: pid_t, known: &mut HashSet<(usize, Vec<u32>)>, file: &mut File) {
    let mut data: libc::c_ulong = 0;
    let none = ptr::null_mut::<c_void>();
    // SAFETY: a number is written.
    unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, none, &raw mut data) };
    let data = data as usize; // 16 bits
    let (kind, place) = (data >> PLACE_BITS, data & ((1 << PLACE_BITS) - 1));
    let (Some(kind), Some(row)) = (Kind::ALL.get(kind), table::of_build().nth(place)) else {
        return;
    };
    let checked = || {
        row.checks.iter().filter_map(|check| match check {
            Check::In(arg, values) => Some((*arg, *values)),
            _ => None,
        })
    };
    let values: Vec<_> = checked().map(|(arg, _)| argument(pid, arg)).collect();
    if known.contains(&(data, values.clone())) {
        return;
    }
    let mut words = vec![kind.name(), names::name(row.call).unwrap_or("?")];
    for ((_, names), value) in checked().zip(&values) {
        let name = names.iter().find(|(known, _)| known == value).map(|(_, name)| *name);
        words.push(name.unwrap_or("?"));
    }
    // One write, so that no line is half one.
    let _ = file.write_all(format!("{}\n", words.join("\t")).as_bytes());
    known.insert((data, values));
}

/// The low half of an argument of the call that a thread is about to make.
fn argument(pid: pid_t, arg: u8) -> u32 {
    let mut regs = MaybeUninit::<user_regs_struct>::zeroed();
    let none = ptr::null_mut::<c_void>();
    // SAFETY: registers are written, all of which may be 0.
    let regs = unsafe {
        libc::ptrace(libc::PTRACE_GETREGS, pid, none, regs.as_mut_ptr());
        regs.assume_init()
    };
    let all = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    all.get(usize::from(arg)).copied().unwrap_or_default() as u32
}

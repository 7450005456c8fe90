//! A guest that broke in, for tests: what it runs on a thread that is shut in. Not in any release.
//!
//! `VMM_INTRUDE=KIND:DEED` in the environment says on which thread and what. `calls` makes every call of [`CALLS`] and
//! tells what became of each; a filter refuses them with an error of its own then, so that one run tries all. A deed
//! with the name of one call makes that one, under the filter as it is. Others are what any thread may come to.

#[cfg(not(debug_assertions))]
compile_error!("the intruder is for debug builds");

use std::hint::black_box;
use std::io::Error;

use libc::{SECCOMP_RET_ERRNO, c_long};

use super::row::Kind;
use crate::observe::stderr;

/// What a filter answers, which no call does.
const REFUSED: u32 = 999;

const HERE: c_long = libc::AT_FDCWD as c_long;
const PASSWD: &std::ffi::CStr = c"/etc/passwd";
const PATH: usize = usize::MAX;
const OTHER: usize = usize::MAX - 1;

/// Name of a deed, the call, and its arguments; [`PATH`] stands for a path, [`OTHER`] for another process, the first of all.
#[rustfmt::skip]
const CALLS: &[(&str, c_long, [usize; 6])] = &[
    ("open", libc::SYS_openat, [HERE as usize, PATH, 0, 0, 0, 0]),
    ("open-old", libc::SYS_open, [PATH, 0, 0, 0, 0, 0]),
    ("open-by-handle", libc::SYS_open_by_handle_at, [HERE as usize, 0, 0, 0, 0, 0]),
    ("create", libc::SYS_openat, [HERE as usize, PATH, 0o101, 0o600, 0, 0]),
    ("rename", libc::SYS_rename, [PATH, PATH, 0, 0, 0, 0]),
    ("link", libc::SYS_linkat, [HERE as usize, PATH, HERE as usize, PATH, 0, 0]),
    ("truncate", libc::SYS_truncate, [PATH, 0, 0, 0, 0, 0]),
    ("socket", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
    ("socket-tcp", libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
    ("connect", libc::SYS_connect, [0, 0, 0, 0, 0, 0]),
    ("bind", libc::SYS_bind, [0, 0, 0, 0, 0, 0]),
    ("listen", libc::SYS_listen, [0, 0, 0, 0, 0, 0]),
    ("exec", libc::SYS_execve, [PATH, 0, 0, 0, 0, 0]),
    ("exec-at", libc::SYS_execveat, [HERE as usize, PATH, 0, 0, 0, 0]),
    ("fork", libc::SYS_fork, [0; 6]),
    ("clone", libc::SYS_clone, [17, 0, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),
    ("ptrace", libc::SYS_ptrace, [16, OTHER, 0, 0, 0, 0]),
    ("read-other", libc::SYS_process_vm_readv, [OTHER, 0, 0, 0, 0, 0]),
    ("write-other", libc::SYS_process_vm_writev, [OTHER, 0, 0, 0, 0, 0]),
    ("pidfd", libc::SYS_pidfd_open, [OTHER, 0, 0, 0, 0, 0]),
    ("pidfd-take", libc::SYS_pidfd_getfd, [0, 0, 0, 0, 0, 0]),
    ("signal", libc::SYS_kill, [OTHER, 0, 0, 0, 0, 0]),
    ("signal-thread", libc::SYS_tgkill, [OTHER, OTHER, 0, 0, 0, 0]),
    ("mount", libc::SYS_mount, [PATH, PATH, 0, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [0x2000_0000, 0, 0, 0, 0, 0]),
    ("setns", libc::SYS_setns, [0, 0, 0, 0, 0, 0]),
    ("chroot", libc::SYS_chroot, [PATH, 0, 0, 0, 0, 0]),
    ("setuid", libc::SYS_setuid, [0; 6]),
    ("mknod", libc::SYS_mknodat, [HERE as usize, PATH, 0o20600, 0, 0, 0]),
    ("map-code", libc::SYS_mmap, [0, 4096, 7, 0x22, usize::MAX, 0]),
    ("map-file", libc::SYS_mmap, [0, 4096, 1, 2, 0, 0]),
    ("protect-code", libc::SYS_mprotect, [0, 4096, 5, 0, 0, 0]),
    ("kvm-create", libc::SYS_ioctl, [0, 0xae01, 0, 0, 0, 0]),
    ("kvm-vcpu", libc::SYS_ioctl, [0, 0xae41, 0, 0, 0, 0]),
    ("kvm-msrs", libc::SYS_ioctl, [0, 0x4008_ae89, 0, 0, 0, 0]),
    ("tap-take", libc::SYS_ioctl, [0, 0x4004_54ca, 0, 0, 0, 0]),
    ("type-for-user", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
    ("io-uring", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0; 6]),
    ("userfaultfd", libc::SYS_userfaultfd, [0; 6]),
    ("perf", libc::SYS_perf_event_open, [0; 6]),
    ("key", libc::SYS_keyctl, [0; 6]),
    ("module", libc::SYS_init_module, [0; 6]),
    ("prctl", libc::SYS_prctl, [4, 1, 0, 0, 0, 0]),
    ("filter", libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]),
    ("handler", libc::SYS_rt_sigaction, [31, 0, 0, 8, 0, 0]),
    ("x32", libc::SYS_read | 0x4000_0000, [0; 6]),
];

fn asked() -> Option<(String, String)> {
    let what = std::env::var("VMM_INTRUDE").ok()?;
    let (kind, deed) = what.split_once(':')?;
    Some((kind.to_owned(), deed.to_owned()))
}

/// The answer of filters, for one run that tries all calls.
pub fn refusal(usual: u32) -> u32 {
    match asked() {
        Some((_, deed)) if deed == "calls" => SECCOMP_RET_ERRNO | REFUSED,
        _ => usual,
    }
}

/// What becomes of a call, in a word.
fn attempt(call: c_long, args: &[usize; 6]) -> String {
    let real = args.map(|arg| match arg {
        PATH => PASSWD.as_ptr().addr(),
        OTHER => 1,
        arg => arg,
    });
    let [a, b, c, d, e, f] = real;
    // SAFETY: paths are whole, other pointers null; whatever comes of it, the process is a test's.
    let result = unsafe { libc::syscall(call, a, b, c, d, e, f) };
    let errno = Error::last_os_error().raw_os_error().unwrap_or_default();
    match (result, errno.unsigned_abs()) {
        (-1, REFUSED) => "refused".to_string(),
        (-1, errno) => format!("error {errno}"),
        _ => "done".to_string(),
    }
}

/// Memory in all sizes, that grows and is given back.
fn use_memory() {
    for bits in 0..24 {
        let mut bytes: Vec<u8> = Vec::with_capacity(1 << bits);
        for grown in 0..3 {
            bytes.resize((1 << bits) << grown, grown);
        }
        black_box(bytes);
    }
    black_box((0..1000).map(|len| vec![0u8; len * 64]).collect::<Vec<_>>());
}

#[expect(unconditional_recursion, reason = "the stack is to run over")]
fn run_over(depth: u64) -> u64 {
    black_box([depth; 128]);
    run_over(black_box(depth + 1)) + 1
}

/// Does what is asked of the calling thread, which is one of `kind`.
pub fn act(kind: Kind) {
    let Some((_, deed)) = asked().filter(|(who, _)| who.replace('-', " ") == kind.name()) else {
        return;
    };
    let known = CALLS.iter().find(|(name, ..)| *name == deed);
    match (deed.as_str(), known) {
        (_, Some((name, call, args))) => {
            stderr::say(&format!("intruder: {name}: {}", attempt(*call, args)));
        }
        ("calls", _) => {
            for (name, call, args) in CALLS {
                stderr::say(&format!("intruder: {name}: {}", attempt(*call, args)));
            }
        }
        ("log", _) => tracing::error!("a line of an intruder"),
        ("memory", _) => use_memory(),
        ("panic", _) => panic!("an intruder"),
        ("no-memory", _) => {
            black_box(vec![1u8; 1 << 50]);
        }
        ("stack", _) => {
            black_box(run_over(0));
        }
        ("fault", _) => {
            // SAFETY: there is nothing at all: that it ends the process is what is asked.
            black_box(unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() });
        }
        _ => panic!("an intruder knows no {deed}"),
    }
    stderr::say(&format!("intruder: {deed}: over"));
}

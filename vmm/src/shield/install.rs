//! The calls that shut a thread in: filters of seccomp, and what goes before them.

use std::io;

use libc::{
    SECCOMP_FILTER_FLAG_LOG, SECCOMP_GET_ACTION_AVAIL, SECCOMP_SET_MODE_FILTER, sock_filter,
    sock_fprog,
};

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: options of here take a number, and no memory is involved.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into())
}

/// Nothing that this process executes gives it more rights: without this, filters are for root only. Fails on no
/// kernel that has KVM.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Memory that was once writable is never executed (6.3).
pub fn refuse_new_code() -> io::Result<()> {
    prctl(libc::PR_SET_MDWE, libc::PR_MDWE_REFUSE_EXEC_GAIN.into())
}

/// The host merges none of our pages with equal ones of others, whoever starts us had wished (6.4): who writes to a
/// page learns by the time it takes whether another has its like.
pub fn share_no_pages() -> io::Result<()> {
    prctl(libc::PR_SET_MEMORY_MERGE, 0)
}

/// One heap for all threads: there is little to be had from several, and a second one wants to change the protection
/// of memory, which no thread may.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator, made before there is another thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// A thread that runs out of memory tells no more than that: to print where it was, the run-time library would open
/// the binary. Call it while there is one thread.
pub fn no_backtraces() {
    // SAFETY: no other thread reads the environment.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
}

/// Whether the kernel has filters with `action` as an answer. Fails if not.
pub fn can_filter(action: u32) -> io::Result<()> {
    let action = std::ptr::from_ref(&action);
    // SAFETY: reads one action.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, action) })
}

/// From here on the calling thread makes the calls that `program` lets through; `logs` puts others into the kernel's
/// log. Fails if the kernel refuses.
pub fn filter(program: &mut [sock_filter], logs: bool) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    let flags = if logs { SECCOMP_FILTER_FLAG_LOG } else { 0 };
    let program = std::ptr::from_ref(&program);
    // SAFETY: the kernel copies the program, which has so many instructions.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) })
}

//! What a forked process keeps of what its parent had open.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Closes all but standard descriptors and `kept`, of which nothing may be used, or dropped, any more.
pub fn keep_only(kept: &[&File]) {
    let mut kept: Vec<_> = kept.iter().map(|file| file.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut from = libc::STDERR_FILENO.unsigned_abs().saturating_add(1);
    for fd in kept {
        close_range(from, fd.checked_sub(1));
        from = fd.saturating_add(1);
    }
    close_range(from, Some(u32::MAX));
}

/// Closes what is open from `first` to `last`.
fn close_range(first: u32, last: Option<u32>) {
    if let Some(last) = last.filter(|last| *last >= first) {
        // SAFETY: the caller says that nothing of it is used any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

//! What an errno of the host means to a request.

use crate::request::Outcome;
use crate::task::Task;

/// Times in a row that the host may say to try again.
pub(super) const MOST_TRIES: u32 = 100;

/// Whether the same call may succeed at once.
pub(super) fn is_transient(errno: i32) -> bool {
    matches!(errno, libc::EINTR | libc::EAGAIN)
}

/// Whether a call that came to `result` is to be followed by another for the rest, or by the same.
pub(super) fn comes_again(result: i32, task: &Task) -> bool {
    match u64::try_from(result) {
        Ok(moved) => moved < task.len() && !task.iovecs().is_empty(),
        Err(_) => is_transient(result.wrapping_neg()),
    }
}

/// Whether the host has no such call for this file: it may have another for the same.
pub(super) fn is_lack(errno: i32) -> bool {
    matches!(errno, libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::ENODEV)
}

/// What a request has come to whose call failed for good.
pub(super) fn outcome(errno: i32) -> Outcome {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Outcome::NoSpace,
        libc::EROFS | libc::EPERM | libc::EBADF => Outcome::ReadOnly,
        libc::ECANCELED => Outcome::Aborted,
        _ => Outcome::Medium,
    }
}

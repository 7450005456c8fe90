//! Core scheduling: on one core at a time there are threads of this program only, and none of another machine's, so that
//! what siblings share of a core tells them nothing of each other (Documentation/admin-guide/hw-vuln/core-scheduling.rst).

use std::io;

use super::error::JailError;
use super::plan::Plan;

/// Of linux/prctl.h.
const PR_SCHED_CORE: libc::c_int = 62;
const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
/// The whole process.
const SCOPE: libc::c_ulong = 1;
const THIS: libc::c_ulong = 0;

/// Gives this process a cookie that no other has, if that was asked for; threads that it starts, and what it executes, have it
/// too. Fails if the kernel does not do that, or no core has siblings.
pub fn begin(plan: &Plan) -> Result<(), JailError> {
    if !plan.core_scheduling {
        return Ok(());
    }
    // SAFETY: plain numbers; the address, which is of no use here, is none.
    let result = unsafe {
        libc::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, THIS, SCOPE, 0 as libc::c_ulong)
    };
    match result {
        0 => Ok(()),
        _ => Err(refusal(&io::Error::last_os_error())),
    }
}

fn refusal(error: &io::Error) -> JailError {
    let why = match error.raw_os_error() {
        Some(libc::EINVAL) => "this kernel does not have it (CONFIG_SCHED_CORE, Linux 5.14)",
        Some(libc::ENODEV) => {
            "the cores of this host run one thread each, so that nobody shares one: leave it out, as long as SMT is off"
        }
        _ => "the host refuses",
    };
    JailError::refused(format!("--core-scheduling: {why} ({error})"))
}

#[cfg(test)]
#[path = "core_scheduling_test.rs"]
mod tests;

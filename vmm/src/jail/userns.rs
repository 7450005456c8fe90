//! A user namespace: who is not root has in it what it takes to build a jail, and nothing of it outside.

use std::fmt::{self, Display};
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::error::JailError;
use super::plan::Plan;

/// What a host may forbid user namespaces by.
const MOST: &str = "/proc/sys/user/max_user_namespaces";
const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// What the host says of user namespaces; nothing of what it does not have.
#[derive(Debug, Default)]
struct Policy {
    /// How many there may be.
    most: Option<String>,
    /// Debian's: whether others than root may make them.
    unprivileged: Option<String>,
    /// Ubuntu's: whether only programs may that have a profile.
    apparmor: Option<String>,
}

impl Policy {
    fn of_host() -> Policy {
        let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_string());
        Policy { most: read(MOST), unprivileged: read(UNPRIVILEGED), apparmor: read(APPARMOR) }
    }

    /// Why the host has refused with `error`, and what to do.
    fn why(&self, error: Errno) -> Why {
        let is = |value: &Option<String>, what: &str| value.as_deref() == Some(what);
        let is_refusal = matches!(error, Errno::PERM | Errno::ACCESS);
        match error {
            Errno::NOSPC if is(&self.most, "0") => Why::NoneMayBe,
            Errno::NOSPC | Errno::USERS => Why::TooMany,
            Errno::INVAL | Errno::NOSYS => Why::NotInKernel,
            _ if is_refusal && is(&self.unprivileged, "0") => Why::OnlyRoot,
            _ if is_refusal && is(&self.apparmor, "1") => Why::AppArmor,
            _ if is_refusal => Why::Refused,
            _ => Why::Other,
        }
    }
}

/// Who or what stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NoneMayBe,
    TooMany,
    NotInKernel,
    OnlyRoot,
    AppArmor,
    Refused,
    Other,
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NoneMayBe => "user.max_user_namespaces is 0; root can allow some by sysctl -w user.max_user_namespaces=10000",
            Why::TooMany => "there are too many, or too many within each other; root can allow more by sysctl -w user.max_user_namespaces=N",
            Why::NotInKernel => "this kernel has none (CONFIG_USER_NS)",
            Why::OnlyRoot => "kernel.unprivileged_userns_clone is 0; root can allow them by sysctl -w kernel.unprivileged_userns_clone=1",
            Why::AppArmor => {
                "kernel.apparmor_restrict_unprivileged_userns is 1; root can load an AppArmor profile with `userns,` for this \
                 program, or allow all by sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Why::Refused => {
                "the host refuses: a chroot, a container's seccomp filter or a security module does not let this process have one"
            }
            Why::Other => "the host refuses",
        })
    }
}

/// Goes into a user namespace in which the user and the group are who they are outside, nobody else is anybody, and no
/// further one can be made. Fails with the setting or policy of the host that is in the way.
pub fn enter(plan: &Plan) -> Result<(), JailError> {
    if !plan.rootless {
        return Ok(());
    }
    let refused = |what: &str, error: Errno| {
        let why = Policy::of_host().why(error);
        JailError::refused(format!("--rootless: {what}: {why} ({})", io::Error::from(error)))
    };
    // SAFETY: the process has one thread, and no table of descriptors is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }
        .map_err(|error| refused("cannot make a user namespace", error))?;
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            refused(&format!("cannot write {path} in the user namespace"), errno)
        })
    };
    write("/proc/self/uid_map", format!("{0} {0} 1", plan.uid))?;
    // The kernel wants this before a map of groups: who gave up a group could be let in where that one is not.
    write("/proc/self/setgroups", "deny".to_string())?;
    write("/proc/self/gid_map", format!("{0} {0} 1", plan.gid))?;
    write(MOST, "0".to_string())
}

#[cfg(test)]
#[path = "userns_test.rs"]
mod tests;

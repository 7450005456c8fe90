//! Landlock: paths that a thread may still go by (linux/landlock.h, `Documentation/userspace-api/landlock.rst`).
//!
//! A thread that is shut in needs none, but to remove sockets; the broker, which opens files for all, needs the
//! folders that it was given. What is open already is not touched.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Version of the interface: what can be restricted grows with it. Later ones have nothing more for us.
pub type Abi = u8;
const NEWEST: Abi = 7;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
/// From version 4.
const RULE_NET_PORT: u32 = 2;

/// Rights to files, each bit one.
pub const WRITE_FILE: u64 = 1 << 1;
pub const READ_FILE: u64 = 1 << 2;
pub const READ_DIR: u64 = 1 << 3;
pub const REMOVE_FILE: u64 = 1 << 5;
pub const MAKE_REG: u64 = 1 << 8;
pub const MAKE_SOCK: u64 = 1 << 9;
pub const TRUNCATE: u64 = 1 << 14;
pub const IOCTL_DEV: u64 = 1 << 15;

/// All rights that the version knows: 13 in the first, then those to link elsewhere, to truncate, and to control
/// devices.
fn all_rights(abi: Abi) -> u64 {
    match abi {
        0 => 0,
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

#[repr(C)]
struct RulesetAttr {
    files: u64,
    /// From version 4.
    net: u64,
    /// From version 6.
    scoped: u64,
}

/// To bind and to connect TCP sockets; to connect to abstract Unix sockets of others. Signals are kept by the
/// filters: some kernels take threads with rules of their own for strangers.
const ALL_TCP: u64 = 0b11;
const CONNECT_TCP: u64 = 0b10;
const ABSTRACT_UNIX: u64 = 1;

#[repr(C, packed)]
struct PathBeneathAttr {
    rights: u64,
    parent: i32,
}

#[repr(C)]
struct NetPortAttr {
    rights: u64,
    port: u64,
}

/// What a thread may do by paths: nothing, but what was granted.
#[derive(Debug)]
pub struct Rules {
    ruleset: OwnedFd,
    abi: Abi,
}

/// The version that the kernel has. Fails if it has none, or it is turned off.
pub fn version() -> io::Result<Abi> {
    let none: *const RulesetAttr = std::ptr::null();
    // SAFETY: without attributes, of which there are 0 bytes, it tells its version.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, CREATE_RULESET_VERSION)
    };
    match u8::try_from(version) {
        Ok(version) => Ok(version.min(NEWEST)),
        Err(_) if version < 0 => Err(io::Error::last_os_error()),
        Err(_) => Ok(NEWEST),
    }
}

impl Rules {
    /// No rights at all. Fails if the kernel refuses.
    pub fn new(abi: Abi) -> io::Result<Rules> {
        let net = if abi >= 4 { ALL_TCP } else { 0 };
        let scoped = if abi >= 6 { ABSTRACT_UNIX } else { 0 };
        let attr = RulesetAttr { files: all_rights(abi), net, scoped };
        let size = match abi {
            ..=3 => size_of::<u64>(),
            4 | 5 => 2 * size_of::<u64>(),
            _ => size_of::<RulesetAttr>(),
        };
        let attr = std::ptr::from_ref(&attr);
        // SAFETY: reads `size` bytes, which there are.
        let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attr, size, 0u32) };
        let fd =
            i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a fresh descriptor, owned by nobody else.
        Ok(Rules { ruleset: unsafe { OwnedFd::from_raw_fd(fd) }, abi })
    }

    /// Grants `rights`, as far as the kernel knows them, to what is at `place` and, if that is a folder, beneath it.
    /// Fails if the kernel refuses.
    pub fn grant(&mut self, place: BorrowedFd<'_>, rights: u64) -> io::Result<()> {
        let rights = rights & all_rights(self.abi);
        let attr = PathBeneathAttr { rights, parent: place.as_raw_fd() };
        let (fd, attr) = (self.ruleset.as_raw_fd(), std::ptr::from_ref(&attr));
        // SAFETY: reads one attribute of the rule's type.
        let done = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, fd, RULE_PATH_BENEATH, attr, 0u32)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Grants connections to a TCP port of any host. Fails if the kernel refuses.
    pub fn grant_connect(&mut self, port: u16) -> io::Result<()> {
        if self.abi < 4 {
            return Ok(());
        }
        let attr = NetPortAttr { rights: CONNECT_TCP, port: port.into() };
        let (fd, attr) = (self.ruleset.as_raw_fd(), std::ptr::from_ref(&attr));
        // SAFETY: reads one attribute of the rule's type.
        let done =
            unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, RULE_NET_PORT, attr, 0u32) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Puts the calling thread under the rules, for good. Fails if the kernel refuses.
    pub fn restrict(&self) -> io::Result<()> {
        let fd = self.ruleset.as_raw_fd();
        // SAFETY: no memory is involved.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, 0u32) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "landlock_test.rs"]
mod tests;

//! What is in a jail: folders, and devices for KVM, TAPs, random numbers, page faults that are handled outside of the kernel,
//! and, where it is asked for, vhost-net.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, accessat, fstat, fstatvfs,
    makedev, mknodat, openat,
};
use rustix::io::Errno;
use rustix::mount::mount_bind;

use super::error::{JailError, Step};
use super::plan::Plan;
use super::tree::{Folder, ITS_OWN, Jail, give};

/// Only the program reads and writes them.
const MODE: u32 = 0o600;
/// Miscellaneous character devices (Documentation/admin-guide/devices.txt).
const MISC: u32 = 10;

/// A node.
struct Device {
    name: &'static str,
    /// As the host names it.
    path: &'static str,
    number: (u32, u32),
    /// The program can do without.
    optional: bool,
}

/// Puts folders and devices into the jail, as Firecracker's jailer does, and nothing else.
pub fn furnish(jail: &Jail, plan: &Plan) -> Result<(), JailError> {
    jail.root.give(plan)?;
    let dev = &jail.root.folder(OsStr::new("dev"), ITS_OWN)?;
    dev.give(plan)?;
    let net = &dev.folder(OsStr::new("net"), ITS_OWN)?;
    net.give(plan)?;
    jail.root.folder(OsStr::new("run"), ITS_OWN)?.give(plan)?;
    let device = |name, path, number, optional| Device { name, path, number, optional };
    // A node can be made of what the host has not loaded yet, but not shown.
    device("tun", "/dev/net/tun", (MISC, 200), plan.rootless).bring(net, plan)?;
    device("kvm", "/dev/kvm", (MISC, 232), false).bring(dev, plan)?;
    if plan.vhost_net {
        device("vhost-net", "/dev/vhost-net", (MISC, 238), false).bring(dev, plan)?;
    }
    device("urandom", "/dev/urandom", (1, 9), true).bring(dev, plan)?;
    match fs::read_to_string("/proc/misc").ok().and_then(|list| minor(&list, "userfaultfd")) {
        Some(minor) => {
            device("userfaultfd", "/dev/userfaultfd", (MISC, minor), true).bring(dev, plan)
        }
        None => Ok(()),
    }
}

/// The minor number of a device in the text of `/proc/misc`.
fn minor(list: &str, device: &str) -> Option<u32> {
    let mut lines = list.lines().filter_map(|line| line.trim().split_once(' '));
    lines.find(|(_, name)| name.trim() == device).and_then(|(minor, _)| minor.parse().ok())
}

/// Fails if this user, who is nobody else in the jail, may not use KVM: to say so once the program runs would be late.
pub fn check_kvm(plan: &Plan) -> Result<(), JailError> {
    if !plan.rootless {
        return Ok(());
    }
    accessat(CWD, "/dev/kvm", Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).step(|| {
        format!(
            "--rootless: user {} may not open /dev/kvm; root can let him by usermod -aG kvm USER, or setfacl -m u:{}:rw \
             /dev/kvm",
            plan.uid, plan.uid
        )
    })
}

impl Device {
    fn bring(&self, to: &Folder, plan: &Plan) -> Result<(), JailError> {
        match self.make(to, plan) {
            Err(_) if self.optional => Ok(()),
            result => result,
        }
    }

    fn make(&self, to: &Folder, plan: &Plan) -> Result<(), JailError> {
        let path = to.path_of(self.name);
        let (major, minor) = self.number;
        let number = makedev(major, minor);
        let what = || format!("cannot make the device {}", path.display());
        // In a user namespace nobody makes devices.
        let cannot =
            plan.rootless || fstatvfs(to).step(what)?.f_flag.contains(StatVfsMountFlags::NODEV);
        let made = match cannot {
            true => Err(Errno::PERM),
            false => {
                mknodat(to, self.name, FileType::CharacterDevice, Mode::from_raw_mode(MODE), number)
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            // Where no node can be made, or used, there may be the host's.
            Err(Errno::PERM) => return self.borrow(to),
            Err(error) => return Err(error).step(what),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(to, self.name, flags, Mode::empty()).step(what)?;
        if !self.is_it(node.as_fd()).step(what)? {
            return Err(JailError::refused(format!(
                "{} is there and is not the device {major}:{minor}; remove it",
                path.display()
            )));
        }
        give(node.as_fd(), plan, MODE, &path)
    }

    fn is_it(&self, node: BorrowedFd<'_>) -> Result<bool, Errno> {
        let facts = fstat(node)?;
        let is_device = FileType::from_raw_mode(facts.st_mode) == FileType::CharacterDevice;
        Ok(is_device && facts.st_rdev == makedev(self.number.0, self.number.1))
    }

    /// Shows the host's own node in the jail, with the owner and permissions that it has there.
    fn borrow(&self, to: &Folder) -> Result<(), JailError> {
        let path = to.path_of(self.name);
        let what = || format!("cannot show {} as {}", self.path, path.display());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(CWD, self.path, flags, Mode::empty()).step(what)?;
        if !self.is_it(node.as_fd()).step(what)? {
            let (major, minor) = self.number;
            return Err(JailError::refused(format!(
                "{} is not the device {major}:{minor}",
                self.path
            )));
        }
        match to.create(OsStr::new(self.name)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(what),
        }
        let place = openat(to, self.name, flags, Mode::empty()).step(what)?;
        let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        mount_bind(name(&node), name(&place)).step(what)
    }
}

#[cfg(test)]
#[path = "devices_test.rs"]
mod tests;

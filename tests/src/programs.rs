//! Programs of this machine that tools and tests run, and how to get missing ones.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::host;

/// A host program and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    name: &'static str,
    package: &'static str,
}

pub const QEMU: Program = Program { name: "qemu-system-x86_64", package: "qemu-system-x86" };
pub const PYTHON: Program = Program { name: "python3", package: "python3" };
pub const PIP: Program = Program { name: "pip3", package: "python3-pip" };
pub const MAKE: Program = Program { name: "make", package: "make" };
pub const GCC: Program = Program { name: "gcc", package: "gcc" };
pub const STRIP: Program = Program { name: "strip", package: "binutils" };
pub const CURL: Program = Program { name: "curl", package: "curl" };
pub const JQ: Program = Program { name: "jq", package: "jq" };
pub const IP: Program = Program { name: "ip", package: "iproute2" };
pub const MKE2FS: Program = Program { name: "mke2fs", package: "e2fsprogs" };
pub const SFDISK: Program = Program { name: "sfdisk", package: "fdisk" };
pub const MKFS_VFAT: Program = Program { name: "mkfs.vfat", package: "dosfstools" };
pub const MCOPY: Program = Program { name: "mcopy", package: "mtools" };
pub const SETPRIV: Program = Program { name: "setpriv", package: "util-linux" };
pub const NSENTER: Program = Program { name: "nsenter", package: "util-linux" };
/// What [`crate::disk_image`] makes disks by.
pub const OF_DISKS: [Program; 4] = [MKE2FS, SFDISK, MKFS_VFAT, MCOPY];
pub const XFS_REPAIR: Program = Program { name: "xfs_repair", package: "xfsprogs" };
pub const DMSETUP: Program = Program { name: "dmsetup", package: "dmsetup" };

/// Installs with apt what is missing of `programs`, as root; says so in one line.
pub fn ensure(programs: &[Program]) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = programs.iter().filter(|program| host::find(program.name).is_none());
    let missing: BTreeSet<_> = missing.map(|program| program.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.into_iter().collect();
    let list = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!("missing programs; install them as root with: apt-get install {list}");
    }
    eprintln!("installing {list} with apt-get");
    Apt::of_host().install(&missing).with_context(|| {
        format!("missing programs; install them with a network by: apt-get install {list}")
    })
}

//! Whether two devices can be in one machine: each has what it stands on for itself.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use devices::block::spec::DiskSpec;
use devices::net::spec::{BackendSpec, NicSpec};
use devices::pmem::PmemSpec;
use devices::serial_of;

use crate::vm::spec::SettingError;

/// Whether two cards can be in one machine. Fails if not.
pub fn cards(nic: &NicSpec, other: &NicSpec) -> Result<(), SettingError> {
    let (id, other_id) = (nic.id.clone(), other.id.clone());
    if let Some(mac) = nic.mac.filter(|mac| other.mac == Some(*mac)) {
        return Err(SettingError::MacTwice { mac, id, other: other_id });
    }
    match (&nic.backend, &other.backend) {
        (BackendSpec::Tap(tap), BackendSpec::Tap(taken)) if tap == taken => {
            Err(SettingError::TapTwice { tap: tap.clone(), id, other: other_id })
        }
        (BackendSpec::Dev(dev), BackendSpec::Dev(taken)) if dev == taken => {
            Err(SettingError::DevTwice { dev: dev.clone(), id, other: other_id })
        }
        (BackendSpec::Fd(fds), BackendSpec::Fd(taken)) => {
            match fds.iter().find(|fd| taken.contains(fd)) {
                Some(fd) => Err(SettingError::FdTwice { fd: *fd, id, other: other_id }),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Whether two disks can be in one machine. Fails if not.
pub fn disks(disk: &DiskSpec, other: &DiskSpec) -> Result<(), SettingError> {
    let (id, other_id) = (disk.id.clone(), other.id.clone());
    // Long ids can begin alike; whoever wants other serial numbers than theirs gives them.
    let (serial, given) = (serial_of(disk), disk.serial.is_some() || other.serial.is_some());
    if given && serial == serial_of(other) {
        return Err(SettingError::SerialTwice { serial, id, other: other_id });
    }
    if disk.root.is_some() && other.root.is_some() {
        return Err(SettingError::RootTwice { id, other: other_id });
    }
    match shared(&images(disk), &images(other)) {
        Some(path) => Err(SettingError::ImageTwice { path, id, other: other_id }),
        None => Ok(()),
    }
}

/// The images of a disk, and whether it writes to them.
fn images(disk: &DiskSpec) -> Vec<(&Path, bool)> {
    let bases = disk.bases.iter().map(|base| (base.as_path(), false));
    std::iter::once((disk.path.as_path(), !disk.read_only)).chain(bases).collect()
}

/// A file that is in both lists, and that one of them writes to.
fn shared(these: &[(&Path, bool)], those: &[(&Path, bool)]) -> Option<PathBuf> {
    let pairs = these.iter().flat_map(|this| those.iter().map(move |that| (this, that)));
    let mut pairs = pairs.filter(|(this, that)| this.1 || that.1);
    pairs.find(|(this, that)| is_same_file(this.0, that.0)).map(|(this, _)| this.0.to_owned())
}

/// Whether a disk and persistent memory can be in one machine. Fails if not: what is refused is the one or the other.
pub fn disk_and_pmem(
    disk: &DiskSpec,
    pmem: &PmemSpec,
    is_of_disk: bool,
) -> Result<(), SettingError> {
    let (disk_id, pmem_id) = (disk.id.clone(), pmem.id.clone());
    if disk.root.is_some() && pmem.root {
        return Err(match is_of_disk {
            true => SettingError::RootIsPmem { id: disk_id, other: pmem_id },
            false => SettingError::PmemRootTwice { id: pmem_id, other: disk_id },
        });
    }
    if let Some(path) = shared(&images(disk), &[(&pmem.path, !pmem.read_only)]) {
        return Err(match is_of_disk {
            true => SettingError::ImageTwice { path, id: disk_id, other: pmem_id },
            false => SettingError::PmemFileTwice { path, id: pmem_id, other: disk_id },
        });
    }
    Ok(())
}

/// Whether two files can both be persistent memory of one machine. Fails if not.
pub fn pmems(pmem: &PmemSpec, other: &PmemSpec) -> Result<(), SettingError> {
    let (id, other_id) = (pmem.id.clone(), other.id.clone());
    if pmem.root && other.root {
        return Err(SettingError::PmemRootTwice { id, other: other_id });
    }
    if !(pmem.read_only && other.read_only) && is_same_file(&pmem.path, &other.path) {
        return Err(SettingError::PmemFileTwice { path: pmem.path.clone(), id, other: other_id });
    }
    Ok(())
}

/// Whether two paths lead to the same bytes; what is not there is not the same.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else { return false };
    let device = |file: &fs::Metadata| file.file_type().is_block_device().then_some(file.rdev());
    match (device(&one), device(&other)) {
        (Some(one), Some(other)) => one == other,
        _ => (one.dev(), one.ino()) == (other.dev(), other.ino()),
    }
}

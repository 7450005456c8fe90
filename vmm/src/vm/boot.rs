//! What a machine boots, opened and checked: files that a user names, or what a disk boots.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use arch::boot::{BootPlan, Cmdline, CmdlineError, DiskBoot, DiskError, DiskFile, ReadAt};
use arch::boot::{Initrd, InitrdError, Kernel, KernelError, PlanError};
use devices::block::image::{Image, OpenError, Source};
use rustix::fs::{MemfdFlags, memfd_create};

use super::kernels;
use super::spec::{BootFrom, BootSpec};
use crate::memory;
use crate::words::Setting;

/// What is wrong with the files and texts that a machine boots from.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("disk {} is neither a file nor a block device", .0.display())]
    NoDisk(PathBuf),
    #[error(transparent)]
    Overlay(OpenError),
    #[error("cannot take {file} out of disk {}", disk.display())]
    TakeOut { disk: PathBuf, file: String, source: io::Error },
    /// The kernel of a disk is none that can be booted.
    #[error(transparent)]
    DiskKernel(KernelError),
    /// The command line of a disk is none.
    #[error("disk {}: {why}", disk.display())]
    DiskCmdline { disk: PathBuf, why: CmdlineError },
    /// What a disk boots does not fit into the machine.
    #[error(transparent)]
    DiskPlan(PlanError),
}

impl BootError {
    /// What it is about.
    pub fn setting(&self) -> Setting {
        match self {
            BootError::Kernel(_) | BootError::Plan(PlanError::KernelTooLarge { .. }) => {
                Setting::Kernel
            }
            BootError::Initrd(_) | BootError::Plan(PlanError::InitrdTooLarge { .. }) => {
                Setting::Initrd
            }
            BootError::Cmdline(_)
            | BootError::Plan(PlanError::CmdlineTooLong { .. })
            | BootError::DiskPlan(PlanError::CmdlineTooLong { .. }) => Setting::Cmdline,
            BootError::Disk(_)
            | BootError::NoDisk(_)
            | BootError::Overlay(_)
            | BootError::TakeOut { .. }
            | BootError::DiskKernel(_)
            | BootError::DiskCmdline { .. } => Setting::BootDisk,
            // Another disk is no cure, more memory is.
            BootError::DiskPlan(_) => Setting::Memory,
        }
    }
}

/// Looks whether a machine could boot so, and keeps nothing open. Fails if it could not.
pub fn check(boot: &BootSpec) -> Result<(), BootError> {
    match &boot.kernel {
        BootFrom::Kernel(path) => drop(Kernel::open(path)?),
        BootFrom::Disk(path, bases) => drop(find(&Source { path, bases })?),
    }
    boot.initrd.as_deref().map(Initrd::open).transpose()?;
    Cmdline::new(boot.cmdline())?;
    Ok(())
}

/// What a machine boots, opened and unpacked.
pub struct Opened {
    kernel: Kernel,
    initrd: Option<Initrd>,
    cmdline: Cmdline,
    of_disk: bool,
}

impl Opened {
    /// Opens and unpacks what `boot` names; no VM exists yet.
    pub fn of(boot: &BootSpec) -> Result<Opened, BootError> {
        let initrd = boot.initrd.as_deref().map(Initrd::open).transpose()?;
        let cmdline = Cmdline::new(boot.cmdline())?;
        match &boot.kernel {
            BootFrom::Kernel(path) => {
                let kernel = kernels::unpacked(Kernel::open(path)?, &boot.kernel_cache);
                Ok(Opened { kernel, initrd, cmdline, of_disk: false })
            }
            BootFrom::Disk(path, bases) => {
                let taken = Taken::out_of(&Source { path, bases })?;
                let kernel = kernels::unpacked(taken.kernel, &boot.kernel_cache);
                // The last of two words that contradict each other counts, nearly always.
                let cmdline = [taken.cmdline.as_str(), cmdline.as_str()].join(" ");
                let cmdline = Cmdline::new(cmdline.trim_end());
                let cmdline =
                    cmdline.map_err(|why| BootError::DiskCmdline { disk: path.clone(), why })?;
                Ok(Opened { kernel, initrd: initrd.or(taken.initrd), cmdline, of_disk: true })
            }
        }
    }

    /// The kernel's command line, as the user and the disk have it.
    pub fn cmdline(&self) -> &Cmdline {
        &self.cmdline
    }

    /// Where all of it goes, with `cmdline` as the last word.
    pub fn plan(self, cmdline: Cmdline, memory: memory::Size) -> Result<BootPlan, BootError> {
        let plan = BootPlan::new(self.kernel, self.initrd, cmdline, memory.0);
        let is_of_disk = |why| match self.of_disk {
            true => BootError::DiskPlan(why),
            false => BootError::Plan(why),
        };
        Ok(plan.map_err(is_of_disk)?.randomized(random()))
    }
}

/// Two numbers that nobody can foresee. A host that has none leaves kernels where they were linked for.
fn random() -> [u64; 2] {
    let mut numbers = [[0; 8]; 2];
    let flags = rustix::rand::GetRandomFlags::empty();
    match rustix::rand::getrandom(numbers.as_flattened_mut(), flags) {
        Ok(16) => numbers.map(u64::from_ne_bytes),
        _ => [0; 2],
    }
}

/// A disk that is an overlay.
struct Above(Image);

impl ReadAt for Above {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.size())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_disk_at(bytes, offset)
    }
}

/// Opens the disk at `source` for reading, and finds out what it boots. Fails if it boots nothing.
fn find(source: &Source<'_>) -> Result<(Box<dyn ReadAt>, DiskBoot), BootError> {
    let path = source.path;
    let name = path.display().to_string();
    let host = |source| DiskError::Host { name: name.clone(), source };
    // Opening a pipe waits for its writer, so look first.
    let kind = std::fs::metadata(path).map_err(host)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(BootError::NoDisk(path.to_owned()));
    }
    let disk: Box<dyn ReadAt> = match source.bases {
        [] => Box::new(File::open(path).map_err(host)?),
        _ => Box::new(Above(Image::open_beside(source).map_err(BootError::Overlay)?)),
    };
    let boot = DiskBoot::find(&*disk, &name)?;
    Ok((disk, boot))
}

/// What a disk boots, as files of their own in memory.
struct Taken {
    kernel: Kernel,
    initrd: Option<Initrd>,
    cmdline: String,
}

/// Archives of an initrd begin at multiples of it (Linux
/// `Documentation/driver-api/early-userspace/buffer-format.rst`).
const ALIGNMENT: u64 = 4;

impl Taken {
    fn out_of(source: &Source<'_>) -> Result<Taken, BootError> {
        let path = source.path;
        let (disk, boot) = find(source)?;
        tracing::info!("disk {} boots {}: {}", path.display(), boot.origin, boot.cmdline);
        let take = |files: &[DiskFile]| {
            copied(&*disk, files).map_err(|source| {
                let file = files.first().map(|file| file.name.clone()).unwrap_or_default();
                BootError::TakeOut { disk: path.to_owned(), file, source }
            })
        };
        let name = |file: &DiskFile| format!("{} of {}", file.name, path.display());
        let kernel = take(std::slice::from_ref(&boot.kernel))?;
        let kernel =
            Kernel::from_file(kernel, &name(&boot.kernel)).map_err(BootError::DiskKernel)?;
        let initrd = match boot.initrds.first() {
            Some(first) => Some(Initrd::from_file(take(&boot.initrds)?, &name(first))?),
            None => None,
        };
        Ok(Taken { kernel, initrd, cmdline: boot.cmdline })
    }
}

/// A file in memory with `files` of `disk`, one behind the other.
fn copied(disk: &dyn ReadAt, files: &[DiskFile]) -> io::Result<File> {
    let mut out = File::from(memfd_create("boot", MemfdFlags::CLOEXEC)?);
    for file in files {
        file.copy(disk, &mut out)?;
        let padding = file.size.next_multiple_of(ALIGNMENT) - file.size;
        io::copy(&mut io::repeat(0).take(padding), &mut out)?;
    }
    out.flush()?;
    Ok(out)
}

#[cfg(test)]
#[path = "boot_test.rs"]
mod tests;

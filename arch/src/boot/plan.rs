//! Kernel, initrd and command line against the memory of a machine: the last check before a VM is made,
//! and the loading afterwards.

use std::io::{self, Seek, SeekFrom};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use super::cmdline::Cmdline;
use super::facts::{BootFacts, Entry, EntryMode};
use super::file::InputFile;
use super::image::{KernelFormat, Segment};
use super::initrd::Initrd;
use super::kaslr::{self, Shift};
use super::kernel::Kernel;
use super::unpack::{RelocationError, relocate};
use super::{linux, pvh};
use crate::layout::{self, CMDLINE, CMDLINE_ROOM, MIB, PAGE_SIZE};
use crate::memory_map;

/// A kernel with all it takes along, known to fit into `ram_bytes` of memory.
#[derive(Debug)]
pub struct BootPlan {
    kernel: Kernel,
    initrd: Option<(Initrd, Segment)>,
    cmdline: Cmdline,
    ram_bytes: u64,
    /// Of a kernel that is put at random.
    shift: Option<Shift>,
}

/// Why a kernel with all it takes along does not fit into a machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The kernel needs more memory than there is below the hole.
    #[error(
        "kernel {name} is too large for the memory: it needs {} MiB below 3 GiB, the machine has {} MiB there",
        mib_up(*.needed), mib_down(*.available)
    )]
    KernelTooLarge {
        /// The kernel's path.
        name: String,
        /// End of the memory that the kernel uses before it looks at the memory map, in bytes from
        /// address 0.
        needed: u64,
        /// End of the RAM below the hole, in bytes from address 0.
        available: u64,
    },
    /// The initrd does not fit between the kernel and the highest address it may have.
    #[error(
        "initrd {name} is too large: it takes {} MiB, but between the kernel and the highest address allowed for an initrd only {} MiB are free",
        mib_up(*.size), mib_down(*.available)
    )]
    InitrdTooLarge {
        /// The initrd's path.
        name: String,
        /// Bytes of the initrd.
        size: u64,
        /// Bytes that are free for it.
        available: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel command line has {len} characters, but kernel {name} takes at most {most}")]
    CmdlineTooLong {
        /// The kernel's path.
        name: String,
        /// Characters of the command line, without the final NUL.
        len: u64,
        /// Characters that the kernel takes.
        most: u64,
    },
}

/// Why a planned start could not be put into guest memory.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The host refused to go to a place in the file.
    #[error("{role} {name} cannot be read")]
    Seek {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// A part of the file could not be read; it may be shorter than it was.
    #[error("{role} {name} cannot be read into guest memory; has it changed meanwhile?")]
    Read {
        /// What the file is for.
        role: &'static str,
        /// Its path, or the name it was given for messages.
        name: String,
        /// What the guest's memory said.
        source: GuestMemoryError,
    },
    /// The kernel cannot be put at random.
    #[error("kernel {name} is damaged")]
    Relocations {
        /// The kernel's path.
        name: String,
        /// What is wrong with its relocations.
        source: RelocationError,
    },
    /// A place for parameters is not in the guest's memory.
    #[error("cannot write the boot parameters into guest memory")]
    Parameters(#[from] GuestMemoryError),
}

impl BootPlan {
    /// Plans the start in a machine with `ram_bytes` of RAM, laid out as [`crate::layout`] says.
    /// `ram_bytes` is in bytes. Fails if the kernel, the initrd or the command line is too large for the
    /// memory or for the kernel.
    pub fn new(
        kernel: Kernel,
        initrd: Option<Initrd>,
        cmdline: Cmdline,
        ram_bytes: u64,
    ) -> Result<Self, PlanError> {
        let available = layout::low_ram_end(ram_bytes);
        let image = &kernel.image;
        if image.memory_end > available {
            return Err(PlanError::KernelTooLarge {
                name: kernel.name().to_owned(),
                needed: image.memory_end,
                available,
            });
        }
        let most = image.cmdline_max.min(CMDLINE_ROOM.saturating_sub(1));
        if cmdline.len() > most {
            return Err(PlanError::CmdlineTooLong {
                name: kernel.name().to_owned(),
                len: cmdline.len(),
                most,
            });
        }
        let initrd = match initrd {
            Some(initrd) => {
                let place = place_initrd(&kernel, &initrd, available)?;
                Some((initrd, place))
            }
            None => None,
        };
        Ok(Self { kernel, initrd, cmdline, ram_bytes, shift: None })
    }

    /// Puts a kernel that was unpacked, and has relocations, at random: in memory by the first number, at
    /// virtual addresses by the second, as it would do itself. `nokaslr` in its command line forbids it;
    /// `mem` and `memmap` leave its place in memory.
    pub fn randomized(mut self, random: [u64; 2]) -> Self {
        let ram_end = layout::low_ram_end(self.ram_bytes);
        let end = self.initrd.as_ref().map_or(ram_end, |(_, place)| place.address);
        self.shift = kaslr::choose(&self.kernel.image, &self.cmdline, end, random);
        self
    }

    /// The kernel that is to be started.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What the kernel takes along.
    pub fn initrd(&self) -> Option<&Initrd> {
        self.initrd.as_ref().map(|(initrd, _)| initrd)
    }

    /// The kernel's command line.
    pub fn cmdline(&self) -> &Cmdline {
        &self.cmdline
    }

    /// Reads kernel and initrd from their files straight into fresh, zeroed guest memory.
    ///
    /// The time this takes is the files'; all else of a start is in [`Self::write_parameters`]. Fails if
    /// a file cannot be read as far as it could when it was opened.
    pub fn load_images<M: GuestMemoryBackend>(&self, memory: &M) -> Result<(), LoadError> {
        let image = &self.kernel.image;
        let Shift { physical, virtual_ } = self.shift.unwrap_or_default();
        for segment in &image.segments {
            let address = segment.address.saturating_add(physical);
            copy(&self.kernel.input, &Segment { address, ..*segment }, memory)?;
        }
        if let Some(table) = image.relocations.filter(|_| virtual_ > 0) {
            let linked = image.memory_start();
            let size = image.memory_end.saturating_sub(linked) as usize;
            let loaded = memory.get_slice(GuestAddress(linked.saturating_add(physical)), size)?;
            relocate(&loaded, linked, virtual_, &table, &self.kernel.input).map_err(|source| {
                LoadError::Relocations { name: self.kernel.name().to_owned(), source }
            })?;
        }
        if let Some((initrd, place)) = &self.initrd {
            copy(&initrd.input, place, memory)?;
        }
        Ok(())
    }

    /// Writes command line, memory map and boot parameters; says where the boot vCPU starts.
    ///
    /// `rsdp` is what [`crate::acpi::write_tables`] returned. Fails if a place for them is not in
    /// `memory`.
    pub fn write_parameters<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        rsdp: GuestAddress,
    ) -> Result<Entry, LoadError> {
        memory.write_slice(&self.cmdline.to_bytes_with_nul(), CMDLINE)?;
        let image = &self.kernel.image;
        let facts = BootFacts {
            rsdp,
            initrd: self.initrd.as_ref().map(|(_, place)| *place),
            is_random: self.shift.is_some(),
            memory_map: memory_map::memory_map(self.ram_bytes),
        };
        let (mode, boot_data) = match image.format {
            KernelFormat::ElfPvh => (EntryMode::Pvh32, pvh::write_start_info(memory, &facts)?),
            KernelFormat::BzImage | KernelFormat::Elf => {
                let zero_page = linux::write_zero_page(memory, image.setup_header, &facts)?;
                (EntryMode::Long64, zero_page)
            }
        };
        let rip = image.entry.saturating_add(self.shift.unwrap_or_default().physical);
        Ok(Entry { rip, boot_data: boot_data.0, mode })
    }
}

/// As high as the kernel allows, out of the way of a kernel that moves itself.
fn place_initrd(kernel: &Kernel, initrd: &Initrd, ram_end: u64) -> Result<Segment, PlanError> {
    let limit = ram_end.min(kernel.image.initrd_last.saturating_add(1));
    let lowest = kernel.image.memory_end.next_multiple_of(PAGE_SIZE);
    let size = initrd.size();
    let address = limit
        .checked_sub(size)
        .map(|address| address & !PAGE_SIZE.wrapping_sub(1))
        .filter(|&address| address >= lowest)
        .ok_or_else(|| PlanError::InitrdTooLarge {
            name: initrd.name().to_owned(),
            size,
            available: limit.saturating_sub(lowest),
        })?;
    Ok(Segment { offset: 0, len: size, address })
}

fn copy<M: GuestMemoryBackend>(
    input: &InputFile,
    segment: &Segment,
    memory: &M,
) -> Result<(), LoadError> {
    let mut file = &input.file;
    file.seek(SeekFrom::Start(segment.offset)).map_err(|source| LoadError::Seek {
        role: input.role,
        name: input.name.clone(),
        source,
    })?;
    memory
        .read_exact_volatile_from(GuestAddress(segment.address), &mut file, segment.len as usize)
        .map_err(|source| LoadError::Read { role: input.role, name: input.name.clone(), source })
}

fn mib_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

fn mib_down(bytes: u64) -> u64 {
    bytes / MIB
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;

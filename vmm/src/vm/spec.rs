//! What a user asks for: one validated model of a machine, however it was said.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use arch::boot::Cmdline;
use arch::layout::{MAX_CPUS, VIRTIO_MMIO_GSIS};
use arch::smbios::Identity;
use arch::template::Template;
use devices::block::spec::{DiskSpec, Key as DiskKey, SpecError as DiskSpecError};
use devices::legacy::ConsoleSpec;
use devices::memory::{HotMemorySpec, SpecError as HotMemorySpecError};
use devices::net::mac::MacAddr;
use devices::net::spec::{Key, SpecError};
use devices::pmem::SpecError as PmemSpecError;
use devices::vsock::SpecError as VsockSpecError;
use devices::{DeviceSpec, Kind};

use super::kernels::KernelCache;
use crate::memory::{Pages, Size};
use crate::words::Setting;

/// What devices are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceBus {
    /// Every device is a function of the PCI bus.
    Pci,
    /// There is no PCI: virtio devices have their registers at fixed addresses.
    Mmio,
}

/// CPUs, memory and bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// 1 to 64.
    pub cpus: u8,
    /// Of the guest's RAM.
    pub memory: Size,
    /// What the host backs the memory with.
    pub pages: Pages,
    /// What devices are attached to; if nobody says so, what the kernel's command line leaves.
    pub bus: Option<DeviceBus>,
    /// What it says that it is.
    pub identity: Identity,
    /// Whether each two vCPUs are the threads of one core.
    pub smt: bool,
    /// Whether pages that the guest writes to are tracked.
    pub track_dirty_pages: bool,
    /// What the guest's CPUs show otherwise than they would; if nobody says so, what was said before.
    pub template: Option<Arc<Template>>,
}

/// One CPU and 128 MiB: what a machine has if nobody says otherwise.
impl Default for MachineSpec {
    fn default() -> MachineSpec {
        MachineSpec {
            cpus: 1,
            memory: Size(128 << 20),
            pages: Pages::Small,
            bus: None,
            identity: Identity::default(),
            smt: false,
            track_dirty_pages: false,
            template: None,
        }
    }
}

impl MachineSpec {
    /// Checks every field by itself and against the others. Fails with what is found wrong first.
    pub fn validate(&self) -> Result<(), SettingError> {
        if !(1..=MAX_CPUS).contains(&self.cpus) {
            return Err(SettingError::Cpus(self.cpus));
        }
        if self.smt && self.cpus > 1 && !self.cpus.is_multiple_of(2) {
            return Err(SettingError::OddThreads(self.cpus));
        }
        let memory = self.memory;
        if memory < LEAST_MEMORY {
            return Err(SettingError::NoMemory(memory));
        }
        if memory > MOST_MEMORY {
            return Err(SettingError::TooMuchMemory(memory));
        }
        if !memory.0.is_multiple_of(PAGE) {
            return Err(SettingError::OddPages(memory));
        }
        if self.pages == Pages::Huge && !memory.0.is_multiple_of(HUGE_PAGE) {
            return Err(SettingError::OddHugePages(memory));
        }
        Ok(())
    }
}

/// What the tables of a boot need.
const LEAST_MEMORY: Size = Size(1 << 20);
/// KVM counts the pages of one piece of memory in 31 bits (KVM_MEM_MAX_NR_PAGES), and all above 4 GiB
/// is one.
const MOST_MEMORY: Size = Size(8 << 40);
const PAGE: u64 = 4 << 10;
const HUGE_PAGE: u64 = 2 << 20;

/// Cards and disks that a machine has at most: slots of the PCI bus but that of the host bridge.
pub const MOST_DEVICES: usize = pci::bus::SLOTS as usize - 1;

/// Where the kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFrom {
    /// A bzImage or an ELF vmlinux.
    Kernel(PathBuf),
    /// A disk's image, and what is below it: what its own boot loader would boot.
    Disk(PathBuf, Vec<PathBuf>),
}

impl BootFrom {
    /// A disk.
    pub fn disk(disk: &DiskSpec) -> BootFrom {
        BootFrom::Disk(disk.path.clone(), disk.bases.clone())
    }
}

impl From<PathBuf> for BootFrom {
    fn from(kernel: PathBuf) -> BootFrom {
        BootFrom::Kernel(kernel)
    }
}

/// What the machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSpec {
    /// Where the kernel comes from.
    pub kernel: BootFrom,
    /// Any file, to be put into the guest's memory; in place of a disk's own.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, if one is given; of a disk what goes behind its own.
    pub cmdline: Option<String>,
    /// Who unpacks a bzImage, and where it is kept then.
    pub kernel_cache: KernelCache,
}

impl BootSpec {
    /// The command line as far as one is given.
    pub fn cmdline(&self) -> &str {
        self.cmdline.as_deref().unwrap_or_default()
    }
}

/// All that a machine is made from.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// CPUs and memory.
    pub machine: MachineSpec,
    /// What it boots.
    pub boot: BootSpec,
    /// Where the serial port goes.
    pub serial: ConsoleSpec,
    /// Devices, in the order in which the guest finds them.
    pub devices: Vec<DeviceSpec>,
    /// Whether a guest can report that it is up.
    pub boot_timer: bool,
    /// What the threads of vCPUs are called, before their number.
    pub vcpu_threads: &'static str,
}

impl VmSpec {
    /// Memory that is plugged while it runs, if it has some.
    pub fn hot_memory(&self) -> Option<&HotMemorySpec> {
        self.devices.iter().find_map(|device| match device {
            DeviceSpec::HotMemory(spec) => Some(spec),
            _ => None,
        })
    }

    /// What devices are attached to: what the user said, else PCI unless `cmdline` turns that off.
    pub fn bus(&self, cmdline: &Cmdline) -> DeviceBus {
        let left = if cmdline.is_pci_off() { DeviceBus::Mmio } else { DeviceBus::Pci };
        self.machine.bus.unwrap_or(left)
    }

    /// Whether all devices can be on `bus`. Fails with the first that cannot.
    pub fn check_bus(&self, bus: DeviceBus) -> Result<(), SettingError> {
        if bus == DeviceBus::Pci {
            return Ok(());
        }
        for (nth, device) in self.devices.iter().enumerate() {
            let (kind, id) = (device.kind(), device.id().to_string());
            if let Some(what) = device.needs_pci() {
                return Err(match self.machine.bus {
                    Some(_) => SettingError::NoPci { kind, id, what },
                    None => SettingError::PciOff { kind, id, what },
                });
            }
            if nth >= VIRTIO_MMIO_GSIS.len() {
                return Err(SettingError::NoSlot { kind, id });
            }
        }
        Ok(())
    }
}

/// What is wrong with one wish, by itself or beside the others: the reason alone, as each surface has
/// its own words for the [`SettingError::setting`] that it is about.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("{0} vCPUs; a machine has 1 to {MAX_CPUS}")]
    Cpus(u8),
    #[error("{0} vCPUs are not whole cores of two threads; take 1 or an even number, or no smt")]
    OddThreads(u8),
    #[error("{0} is too little; a machine needs at least {LEAST_MEMORY}")]
    NoMemory(Size),
    #[error("{0} is too much; a machine has at most {MOST_MEMORY}")]
    TooMuchMemory(Size),
    #[error("{0} of memory are not whole pages; write a multiple of 4K")]
    OddPages(Size),
    #[error("{0} of memory are not whole pages of 2 MiB; write a multiple of 2M")]
    OddHugePages(Size),
    #[error("{why}")]
    Card { id: String, why: SpecError },
    #[error(
        "{what} is a PCI card, and pci=off in the kernel's command line leaves the guest without PCI; \
         take another model, or remove pci=off"
    )]
    PciOff { kind: Kind, id: String, what: &'static str },
    #[error(
        "{what} is a PCI card, and bus mmio leaves the guest without PCI; take another model, or bus pci"
    )]
    NoPci { kind: Kind, id: String, what: &'static str },
    #[error("a machine without PCI has room for {} devices", VIRTIO_MMIO_GSIS.len())]
    NoSlot { kind: Kind, id: String },
    #[error("{0:?} is given twice; each card needs its own")]
    IdTwice(String),
    #[error("{mac} belongs to card {other:?}; each card needs its own")]
    MacTwice { mac: MacAddr, id: String, other: String },
    #[error("tap {tap} belongs to card {other:?}; each card needs its own")]
    TapTwice { tap: String, id: String, other: String },
    #[error("interface {dev} belongs to card {other:?}; each card needs its own")]
    DevTwice { dev: String, id: String, other: String },
    #[error("{fd} belongs to card {other:?}; each card needs its own")]
    FdTwice { fd: RawFd, id: String, other: String },
    #[error("{why}")]
    Disk { id: String, why: DiskSpecError },
    #[error("{0:?} is given twice; each disk needs its own")]
    DiskIdTwice(String),
    #[error(
        "{} is in use by disk {other:?}; two disks can have one image if both are read-only",
        path.display()
    )]
    ImageTwice { path: PathBuf, id: String, other: String },
    #[error("{serial:?} belongs to disk {other:?}; each disk needs its own")]
    SerialTwice { serial: String, id: String, other: String },
    #[error("disk {other:?} is the root already; a machine has one")]
    RootTwice { id: String, other: String },
    #[error("{0}")]
    Vsock(VsockSpecError),
    #[error("{other:?} is the root already; a machine has one")]
    RootIsPmem { id: String, other: String },
    #[error("{0:?} is given twice; each needs its own")]
    PmemIdTwice(String),
    #[error("{why}")]
    Pmem { id: String, why: PmemSpecError },
    #[error("{other:?} is the root already; a machine has one")]
    PmemRootTwice { id: String, other: String },
    #[error(
        "{} is in use by {other:?}; two can have one file if both are read-only",
        path.display()
    )]
    PmemFileTwice { path: PathBuf, id: String, other: String },
    #[error("the amount of pages requested is too large: {amount} MiB of {memory}; ask for less")]
    BalloonTooLarge { amount: u32, memory: Size },
    #[error("{memory} is less than the balloon's {amount} MiB; make the balloon smaller first")]
    MemoryBelowBalloon { amount: u32, memory: Size },
    #[error("{0}")]
    HotMemory(HotMemorySpecError),
    #[error("a machine has at most {MOST_DEVICES} cards, disks and other devices; leave some out")]
    TooMany { kind: Kind, id: String },
}

impl SettingError {
    /// What it is about.
    pub fn setting(&self) -> Setting {
        let card = |id: &String, key| Setting::Card(id.clone(), Some(key));
        let disk = |id: &String, key| Setting::Disk(id.clone(), Some(key));
        match self {
            SettingError::Cpus(_) | SettingError::OddThreads(_) => Setting::Cpus,
            SettingError::RootIsPmem { id, .. } => disk(id, DiskKey::Root),
            SettingError::PmemIdTwice(id)
            | SettingError::Pmem { id, .. }
            | SettingError::PmemRootTwice { id, .. }
            | SettingError::PmemFileTwice { id, .. } => Setting::Pmem(id.clone()),
            SettingError::BalloonTooLarge { .. } => Setting::Balloon,
            SettingError::HotMemory(_) => Setting::HotMemory,
            SettingError::NoMemory(_)
            | SettingError::TooMuchMemory(_)
            | SettingError::MemoryBelowBalloon { .. }
            | SettingError::OddPages(_) => Setting::Memory,
            SettingError::OddHugePages(_) => Setting::HugePages,
            SettingError::Card { id, why } => card(id, why.key()),
            SettingError::PciOff { kind, id, .. }
            | SettingError::NoPci { kind, id, .. }
            | SettingError::NoSlot { kind, id }
            | SettingError::TooMany { kind, id } => Setting::of_device(*kind, id),
            SettingError::IdTwice(id) => card(id, Key::Id),
            SettingError::MacTwice { id, .. } => card(id, Key::Mac),
            SettingError::TapTwice { id, .. } => card(id, Key::Tap),
            SettingError::DevTwice { id, .. } => card(id, Key::Dev),
            SettingError::FdTwice { id, .. } => card(id, Key::Fd),
            SettingError::Disk { id, why } => disk(id, why.key()),
            SettingError::DiskIdTwice(id) => disk(id, DiskKey::Id),
            SettingError::ImageTwice { id, .. } => disk(id, DiskKey::Path),
            SettingError::SerialTwice { id, .. } => disk(id, DiskKey::Serial),
            SettingError::RootTwice { id, .. } => disk(id, DiskKey::Root),
            SettingError::Vsock(why) => Setting::Vsock(Some(why.key())),
        }
    }
}

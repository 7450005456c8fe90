//! What a user asks for: one validated model of a machine, however it was said.

use std::path::PathBuf;

use arch::layout::MAX_CPUS;
use devices::DeviceSpec;
use devices::legacy::ConsoleSpec;
use devices::net::spec::SpecError;

use crate::memory::{Pages, Size};

/// CPUs and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// 1 to 64.
    pub cpus: u8,
    pub memory: Size,
    /// What the host backs the memory with.
    pub pages: Pages,
}

/// One CPU and 128 MiB: what a machine has if nobody says otherwise.
impl Default for MachineSpec {
    fn default() -> MachineSpec {
        MachineSpec { cpus: 1, memory: Size(128 << 20), pages: Pages::Small }
    }
}

impl MachineSpec {
    /// Checks every field by itself and against the others.
    pub fn validate(&self) -> Result<(), SettingError> {
        if !(1..=MAX_CPUS).contains(&self.cpus) {
            return Err(SettingError::Cpus(self.cpus));
        }
        if self.pages == Pages::Huge && !self.memory.0.is_multiple_of(2 << 20) {
            return Err(SettingError::OddHugePages(self.memory));
        }
        match self.memory.0 {
            bytes if bytes < 1 << 20 => Err(SettingError::NoMemory { mib: bytes >> 20 }),
            _ => Ok(()),
        }
    }
}

/// What the machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSpec {
    /// A bzImage or an ELF vmlinux.
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    pub cmdline: String,
}

/// All that a machine is made from.
#[derive(Clone, Debug)]
pub struct VmSpec {
    pub machine: MachineSpec,
    pub boot: BootSpec,
    pub serial: ConsoleSpec,
    pub devices: Vec<DeviceSpec>,
    /// Whether a guest can report that it is up.
    pub boot_timer: bool,
}

/// What is wrong with one wish, by itself or beside the others. Each begins with the option that it is
/// about; [`crate::action::ActionError`] says it in the API's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("--cpus: {0} vCPUs; a machine has 1 to {MAX_CPUS}")]
    Cpus(u8),
    #[error("--mem: memory of {mib} MiB is too little; a machine needs at least 1 MiB")]
    NoMemory { mib: u64 },
    #[error("--huge-pages: {0} of memory are no whole number of 2M pages")]
    OddHugePages(Size),
    #[error("--net: {0}")]
    Nic(#[from] SpecError),
    #[error("--net: id {0:?} is given twice; each card needs its own")]
    IdTwice(String),
    #[error("--net: mac {mac} of card {id:?} belongs to card {other:?}; each card needs its own")]
    MacTwice { mac: String, id: String, other: String },
    #[error("--net: tap {tap} of card {id:?} belongs to card {other:?}; each card needs its own")]
    TapTwice { tap: String, id: String, other: String },
}

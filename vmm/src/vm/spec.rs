//! What a user asks for: one validated model of a machine, however it was said.

use std::path::PathBuf;
use std::time::Duration;

use devices::DeviceSpec;
use devices::legacy::ConsoleSpec;

use crate::memory::Size;

/// CPUs and memory.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// 1 to 64.
    pub cpus: u8,
    pub memory: Size,
}

/// What the machine boots.
#[derive(Clone, Debug)]
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
    /// How long a guest may take to power off once asked.
    pub grace: Duration,
}

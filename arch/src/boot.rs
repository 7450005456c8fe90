//! From files to a machine that is about to run its first instruction.
//!
//! ```text
//! Kernel::open ─┐
//! Initrd::open ─┼─► BootPlan::new ─► load_images ─► write_parameters ─► Entry
//! Cmdline::new ─┘   (no VM yet)      (reads files)  (writes tables)
//! ```
//! Whatever can be wrong with the files or their fit into memory is found by the first two columns,
//! before a VM exists.

mod bzimage;
mod cmdline;
mod elf;
mod file;
mod initrd;
mod kernel;
mod linux;
mod plan;
mod pvh;
#[cfg(test)]
mod samples;

pub use cmdline::{Cmdline, CmdlineError, DEFAULT_CMDLINE};
pub use file::FileError;
pub use initrd::{Initrd, InitrdError};
pub use kernel::{Kernel, KernelError, KernelFormat};
pub use plan::{BootPlan, LoadError, PlanError};

/// Where and how the boot vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address of the first instruction.
    pub rip: u64,
    /// Address of the zero page (goes to RSI) or of PVH's start info (goes to RBX).
    pub boot_data: u64,
    pub mode: EntryMode,
}

/// State of the CPU that the kernel's entry point expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// Linux's 64-bit boot protocol: long mode, memory mapped to itself.
    Long64,
    /// PVH: 32-bit protected mode, no paging.
    Pvh32,
}

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
mod disk;
mod elf;
mod facts;
mod file;
mod image;
mod initrd;
mod kaslr;
mod kernel;
mod linux;
mod plan;
mod pvh;
#[cfg(test)]
mod samples;
mod unpack;

pub use cmdline::{Cmdline, CmdlineError, DEFAULT_CMDLINE};
pub use disk::{DiskBoot, DiskError, DiskFile, ReadAt};
pub use facts::{Entry, EntryMode};
pub use file::FileError;
pub use image::{KernelError, KernelFormat};
pub use initrd::{Initrd, InitrdError};
pub use kernel::Kernel;
pub use plan::{BootPlan, LoadError, PlanError};
pub use unpack::{Packed, RelocationError, UnpackError};

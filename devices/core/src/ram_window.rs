//! Memory of cards that the guest reaches without leaving to user space.

use std::io;
use std::sync::Arc;

use crate::GuestRam;

/// Memory that belongs to a card and not to the machine: behind one of its BARs, or nowhere.
pub trait RamWindow: Send + Sync {
    /// The memory, from address 0 on.
    fn memory(&self) -> &GuestRam;

    /// Shows it to the guest from `at` on, and nowhere else; `None` takes it away. What it holds
    /// stays. `at` is guest-physical. Fails if the host refuses.
    fn place(&self, at: Option<u64>) -> io::Result<()>;
}

/// Gives windows out while a machine is built.
pub trait RamWindows: Send + Sync {
    /// A zeroed window of `bytes` bytes, nowhere yet. Fails if the host has no memory for it.
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>>;
}

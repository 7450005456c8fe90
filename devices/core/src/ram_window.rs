//! Memory of cards that the guest reaches without leaving to user space.

use std::fs::File;
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

/// A file in the guest's address space, for as long as this lives. It is memory for the guest alone: devices do not
/// reach it.
pub trait FileWindow: Send + Sync {
    /// Guest-physical address of its first byte, a multiple of 2 MiB.
    fn address(&self) -> u64;

    /// Bytes that the guest has there, a multiple of 2 MiB.
    fn size(&self) -> u64;
}

/// Gives windows out while a machine is built.
pub trait RamWindows: Send + Sync {
    /// A zeroed window of `bytes` bytes, nowhere yet. Fails if the host has no memory for it.
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>>;

    /// The same, of a window that is shown now and then: who goes on from a snapshot does not expect it anywhere.
    fn allocate_passing(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        self.allocate(bytes)
    }

    /// Shows the first `bytes` bytes of `file` to the guest, which writes to it unless it is `read_only`. Behind
    /// them are zeroes, up to 2 MiB. Fails if the host refuses, or has no room for it in the guest's address space.
    fn map_file(&self, file: &File, bytes: u64, read_only: bool)
    -> io::Result<Arc<dyn FileWindow>>;
}

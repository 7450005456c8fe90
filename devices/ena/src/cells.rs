//! Registers that are memory under the guest: what it wrote is taken out by who looks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use device_core::ram_window::RamWindow;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory};

/// What a register holds that was not written since the last look. Of no use to a driver: tails have
/// 16 bits, and no unmask asks for the longest delays that it says are not to count.
const NOTHING: u32 = u32::MAX;

/// A window of 32-bit registers.
pub struct Cells(Arc<dyn RamWindow>);

impl Cells {
    /// The registers in `window`.
    pub fn new(window: Arc<dyn RamWindow>) -> Cells {
        Cells(window)
    }

    /// Shows them to the guest from `at` on, and nowhere else. Fails if the host refuses.
    pub fn place(&self, at: Option<u64>) -> io::Result<()> {
        self.0.place(at)
    }

    /// What was written to the register at `offset` since the last look.
    pub fn take(&self, offset: u64) -> Option<u32> {
        // Most looks find nothing, and leave the line to the guest.
        self.peek(offset)?;
        // Acquire: what the guest did before it wrote is seen.
        let value = self.with(offset, |cell| cell.swap(NOTHING, Ordering::AcqRel))?;
        Some(u32::from_le(value)).filter(|value| *value != NOTHING)
    }

    /// The same, and it stays there.
    pub fn peek(&self, offset: u64) -> Option<u32> {
        let value = self.with(offset, |cell| cell.load(Ordering::Relaxed))?;
        Some(u32::from_le(value)).filter(|value| *value != NOTHING)
    }

    fn with(&self, offset: u64, act: impl FnOnce(&AtomicU32) -> u32) -> Option<u32> {
        let slice = self.0.memory().get_slice(GuestAddress(offset), 4).ok()?;
        slice.get_atomic_ref::<AtomicU32>(0).ok().map(act)
    }
}

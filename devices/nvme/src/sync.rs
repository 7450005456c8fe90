//! What parts without locks are made of. Models of them bring their own of the same names.

use std::sync::atomic;

use device_core::GuestRam;
use device_core::memory::slice;
use vm_memory::Bytes;

pub use atomic::{AtomicU64, Ordering, fence};

/// Words of guest memory that both sides use at once.
pub struct Words(GuestRam);

impl Words {
    /// Of this memory.
    pub fn new(memory: GuestRam) -> Words {
        Words(memory)
    }

    /// The word at `at`, and all that was written before it; `None` if that is no aligned place in RAM.
    pub fn load(&self, at: u64) -> Option<u32> {
        slice(&self.0, at, 4)?.load(0, Ordering::Acquire).ok().map(u32::from_le)
    }

    /// Stores the word at `at`, in no order with others; nothing if that is no aligned place in RAM.
    pub fn store(&self, at: u64, word: u32) {
        if let Some(place) = slice(&self.0, at, 4) {
            let _ = place.store(word.to_le(), 0, Ordering::Relaxed);
        }
    }
}

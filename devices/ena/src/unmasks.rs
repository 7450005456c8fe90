//! The unmask registers of all vectors: memory that lanes look at.
//!
//! A driver asks for each interrupt anew, most often with none due: an exit for a note to the device.
//! So wherever the guest has BAR 0 they are memory, and a lane looks when it has an interrupt to
//! send. Only while that waits, and the guest is at work on its completions, the lane has to look
//! again and again.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cells::Cells;

/// Bytes from one register to the next, which is another lane's: a cache line.
pub const STRIDE: u64 = 64;

/// The registers of some vectors, the first of which is 0 here.
pub struct Unmasks {
    cells: Cells,
    /// They are memory; else they are trapped.
    open: AtomicBool,
}

impl Unmasks {
    /// Trapped, for `count` vectors.
    pub fn new(cells: Cells, count: u16) -> Unmasks {
        let unmasks = Unmasks { cells, open: AtomicBool::new(false) };
        for index in 0..count {
            unmasks.take(index);
        }
        unmasks
    }

    /// The guest has them at `at` now. Once this returns none of its writes goes to where they were.
    pub fn mapped(&self, at: Option<u64>) {
        let placed = self.cells.place(at);
        if let Err(error) = &placed {
            tracing::warn!(
                "interrupts of an ENA card are asked for by exits, which is slower: {error}"
            );
        }
        self.open.store(placed.is_ok() && at.is_some(), Ordering::Relaxed);
    }

    /// Whether writes have to be looked for.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// What was written to a vector's register since the last look.
    pub fn take(&self, index: u16) -> Option<u32> {
        self.cells.take(u64::from(index).wrapping_mul(STRIDE))
    }
}

#[cfg(test)]
#[path = "unmasks_test.rs"]
mod tests;

//! What tells a guest that it is another machine now: an id that is random and new, and a page with counts of such
//! breaks, both in the guest's memory.
//!
//! The id is that of Microsoft's "Virtual Machine Generation ID", whose driver in Linux seeds the kernel's random
//! numbers anew. The page is the virtual machine clock (Linux `include/uapi/linux/vmclock-abi.h`): here it tells no
//! time, but counts, for programs that keep random numbers of their own and map it. A guest may write to both, and
//! fools itself alone: what they are made of is kept here.

mod page;
pub mod saved;

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::interrupt::IrqLine;
use device_core::memory::Span;
use serde::{Deserialize, Serialize};

use page::{Counts, LEN, SEQUENCE_AT, WORD_WITH_SEQUENCE, words};

/// Bytes of an id.
pub const ID: usize = 16;

/// Where both are in the guest's memory, at multiples of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// The id.
    pub id: u64,
    /// The page.
    pub clock: u64,
}

/// The guest's memory has no place for what is to be written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest's memory has no room for its generation id")]
pub struct NoRoom;

/// Both, and the line of the generic event device by which their drivers hear of a change.
pub struct Generation {
    places: Places,
    id: Span,
    clock: Span,
    line: Arc<dyn IrqLine>,
    counts: Mutex<Counts>,
}

impl Generation {
    /// At `places` in `memory`, where nothing is written yet.
    pub fn new(memory: &GuestRam, places: Places, line: Arc<dyn IrqLine>) -> Generation {
        Generation {
            places,
            id: Span::new(memory.clone(), places.id, ID),
            clock: Span::new(memory.clone(), places.clock, LEN),
            line,
            counts: Mutex::default(),
        }
    }

    /// Writes both for a machine that begins. Fails if they are not in its memory.
    pub fn begin(&self, id: [u8; ID]) -> Result<(), NoRoom> {
        self.write(Some(id), self.counts())
    }

    /// The machine goes on as itself, on another host or in another process: its id stays, and only its time has a
    /// break, which the guest is told of. The rest is as of [`Generation::renew`].
    pub fn move_on(&self) -> Result<(), NoRoom> {
        let mut counts = self.counts();
        counts.disruptions = counts.disruptions.wrapping_add(1);
        self.write(None, counts)?;
        self.line.pulse();
        Ok(())
    }

    /// The machine goes on as another one: both change, and the guest is told. No vCPU runs, and interrupt controllers
    /// are as they will be. Fails if they are not in its memory.
    pub fn renew(&self, id: [u8; ID]) -> Result<(), NoRoom> {
        let mut counts = self.counts();
        counts.disruptions = counts.disruptions.wrapping_add(1);
        counts.generation = counts.generation.wrapping_add(1);
        self.write(Some(id), counts)?;
        self.line.pulse();
        Ok(())
    }

    /// Writes the page, and the id if it is another.
    fn write(
        &self,
        id: Option<[u8; ID]>,
        mut counts: MutexGuard<'_, Counts>,
    ) -> Result<(), NoRoom> {
        let writing = Counts { sequence: counts.sequence.wrapping_add(1), ..*counts };
        counts.sequence = counts.sequence.wrapping_add(2);
        if let Some(id) = id.map(u128::from_le_bytes) {
            self.id.store(0, [id as u64, (id >> 64) as u64]).ok_or(NoRoom)?;
        }
        self.put_sequence(&writing)?;
        // Who sees any of the rest sees that it is being written.
        fence(Ordering::SeqCst);
        self.clock.store(0, words(&writing)).ok_or(NoRoom)?;
        fence(Ordering::SeqCst);
        self.put_sequence(&counts)
    }

    fn put_sequence(&self, counts: &Counts) -> Result<(), NoRoom> {
        let word = words(counts).get(WORD_WITH_SEQUENCE).copied().ok_or(NoRoom)?;
        self.clock.store(SEQUENCE_AT, [word]).ok_or(NoRoom)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "generation_test.rs"]
mod tests;

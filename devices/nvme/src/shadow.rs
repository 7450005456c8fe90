//! A doorbell in memory: the host stores its index in one word and reads in another from when on it has
//! to write the register as well (Doorbell Buffer Config, NVMe base specification 1.4, 5.7).
//!
//! The host stores an index, then reads the other word; the controller stores there, then reads the
//! index. With a full fence between the two on either side, one of them sees the other's store:
//! `tests/loom.rs` tries all interleavings.

use crate::sync::{AtomicU64, Ordering, Words, fence};

/// Where nothing is: no aligned address.
const NOWHERE: u64 = u64::MAX;

/// One doorbell's words, if they are anywhere. The addresses change only while no ring uses them, or
/// from nowhere.
pub struct Shadow {
    memory: Words,
    index: AtomicU64,
    event: AtomicU64,
}

impl Shadow {
    /// Nowhere yet.
    pub fn new(memory: Words) -> Shadow {
        Shadow { memory, index: AtomicU64::new(NOWHERE), event: AtomicU64::new(NOWHERE) }
    }

    /// The words are at these guest-physical addresses from now on, and both hold `now`.
    pub fn place(&self, index: u64, event: u64, now: u16) {
        for at in [index, event] {
            self.memory.store(at, now.into());
        }
        self.event.store(event, Ordering::Relaxed);
        self.index.store(index, Ordering::Release); // pairs with `index`
    }

    /// The words are at these guest-physical addresses, and hold what they held.
    pub fn stay(&self, index: u64, event: u64) {
        self.event.store(event, Ordering::Relaxed);
        self.index.store(index, Ordering::Release); // pairs with `index`
    }

    /// They are touched no more.
    pub fn forget(&self) {
        self.index.store(NOWHERE, Ordering::Release); // pairs with `index`
    }

    /// Whether they are anywhere.
    pub fn is_placed(&self) -> bool {
        self.index.load(Ordering::Acquire) != NOWHERE // pairs with `place`
    }

    /// What the host stored last, of which any value may be; `None` if it stores nowhere.
    pub fn index(&self) -> Option<u16> {
        let at = self.index.load(Ordering::Acquire); // pairs with `place`
        // Who sees the index sees the entries before it.
        self.memory.load(at).map(|word| word as u16)
    }

    /// Asks the host to write the register once it goes on from `seen`. What it stored before it could
    /// see that is seen by the next [`Shadow::index`].
    pub fn want(&self, seen: u16) {
        if self.is_placed() {
            self.memory.store(self.event.load(Ordering::Relaxed), seen.into());
            fence(Ordering::SeqCst); // pairs with the host's fence between its store and its read
        }
    }

    /// Keeps the host from writing the register for as long as can be: for a round of the ring from `seen` on.
    ///
    /// What it was asked for last stays in memory, and the index passes it again once a round.
    pub fn rest(&self, seen: u16) {
        if self.is_placed() {
            self.memory.store(self.event.load(Ordering::Relaxed), seen.wrapping_sub(1).into());
        }
    }
}

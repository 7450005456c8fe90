//! Virtio on split rings (virtio 1.2, 2.7) that are polled: what all its devices have in common, on either bus.

mod place;

pub use place::{Bell, Place};

use crate::memory::{Arena, barrier, read, write};
use crate::targets::Table;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// Features of every device (6).
pub const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// Flags of a descriptor, as its second word has them behind the length.
pub const NEXT: u64 = 1 << 32;
pub const WRITE: u64 = 2 << 32;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

impl Place {
    /// Resets it, and agrees on those of `wanted` that it offers. What it does not offer of `needed` ends the
    /// machine.
    pub fn reset(self, wanted: u64, needed: u64) -> Handshake {
        self.set_status(0);
        while self.status() != 0 {}
        // One after the other (3.1.1): some devices insist.
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        let offered = self.features();
        let needed = needed | VERSION_1;
        assert!(offered & needed == needed);
        let features = offered & wanted | needed;
        self.accept(features);
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert!(self.status() & FEATURES_OK != 0);
        Handshake { place: self, features }
    }
}

/// A device that is being set up.
pub struct Handshake {
    place: Place,
    /// What was agreed on.
    pub features: u64,
}

impl Handshake {
    /// Makes and enables queue `index`, of `depth` entries or as many as there can be.
    pub fn ring(&self, index: u16, depth: u16, arena: &mut Arena) -> Ring {
        let size = depth.min(self.place.select(index));
        let ring = Ring {
            descriptors: arena.take_zeroed(u64::from(size) * 16),
            available: arena.take_zeroed(u64::from(size) * 2 + 6),
            used: arena.take_zeroed(u64::from(size) * 8 + 6),
            bell: self.place.bell(),
            index,
            size,
            event_idx: self.features & EVENT_IDX != 0,
            put: 0,
            shown: 0,
            back: 0,
        };
        // Interrupts are never wanted: one in a whole round of the index is the least there is.
        write(ring.available, NO_INTERRUPT);
        write(ring.available + 4 + u64::from(size) * 2, u16::MAX);
        self.place.enable(size, [ring.descriptors, ring.available, ring.used]);
        ring
    }

    /// All queues are there.
    pub fn done(self) {
        self.place.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }
}

/// One queue.
pub struct Ring {
    descriptors: u64,
    available: u64,
    used: u64,
    /// Its doorbell.
    pub bell: Bell,
    index: u16,
    /// Its entries, a power of two.
    pub size: u16,
    event_idx: bool,
    /// Counters of the chains made available, of those shown to the device, and of those that came back.
    pub put: u16,
    shown: u16,
    pub back: u16,
}

impl Ring {
    /// The entry of a counter.
    pub fn slot(&self, counter: u16) -> u64 {
        u64::from(counter & (self.size - 1))
    }

    /// Writes the descriptor at `slot`: an address, and then length, flags and the next one.
    pub fn describe(&self, slot: u64, address: u64, rest: u64) {
        write(self.descriptors + slot * 16, address);
        write(self.descriptors + slot * 16 + 8, rest);
    }

    /// Writes all but the address of the descriptor at `slot`.
    pub fn describe_rest(&self, slot: u64, rest: u64) {
        write(self.descriptors + slot * 16 + 8, rest);
    }

    /// Puts a head in the entry of a counter.
    pub fn set_head(&self, counter: u16, head: u16) {
        write(self.available + 4 + self.slot(counter) * 2, head);
    }

    /// How many have come back since `back`.
    pub fn done(&self) -> u16 {
        read::<u16>(self.used + 2).wrapping_sub(self.back)
    }

    /// Head and length of the next one that came back, which one must have.
    pub fn take(&mut self) -> (u32, u32) {
        let at = self.used + 4 + self.slot(self.back) * 8;
        self.back = self.back.wrapping_add(1);
        (read(at), read(at + 4))
    }

    /// Shows the device what was put.
    pub fn show(&mut self) {
        let before = core::mem::replace(&mut self.shown, self.put);
        if before == self.put {
            return;
        }
        // Writes are seen in their order; the device's wish is to be read after they are out.
        write(self.available + 2, self.put);
        barrier();
        let wanted = if self.event_idx {
            let event = read::<u16>(self.used + 4 + u64::from(self.size) * 8);
            self.put.wrapping_sub(event).wrapping_sub(1) < self.put.wrapping_sub(before)
        } else {
            read::<u16>(self.used) & NO_NOTIFY == 0
        };
        if wanted {
            self.bell.ring(self.index);
        }
    }

    /// Its tables, as a storm sees them.
    pub fn tables(&self) -> [Table; 3] {
        let size = u64::from(self.size);
        let descriptors =
            Table { addresses: (0, 8), numbers: (8, 16), ..Table::new(self.descriptors, size, 16) };
        // Both as pairs of bytes, their heads and the events behind them included.
        let words = |at, slots| Table { numbers: (0, 2), ..Table::new(at, slots, 2) };
        [descriptors, words(self.available, size + 3), words(self.used, size * 4 + 3)]
    }
}

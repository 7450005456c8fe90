//! Virtio over PCI (virtio 1.2, 4.1) on split rings (2.7) that are polled: what all its devices have in common.

use crate::memory::{Arena, barrier, read, write};
use crate::targets::Table;

/// Fields of the common configuration (4.1.4.3).
mod common {
    pub const FEATURE_SELECT: u64 = 0x00;
    pub const FEATURES: u64 = 0x04;
    pub const DRIVER_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURES: u64 = 0x0c;
    pub const STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY: u64 = 0x1e;
    pub const QUEUE_DESCRIPTORS: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
}

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NO_VECTOR: u16 = 0xffff;

/// Features of every device (6).
pub const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// Flags of a descriptor, as its second word has them behind the length.
pub const NEXT: u64 = 1 << 32;
pub const WRITE: u64 = 2 << 32;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// Where a device has its registers.
#[derive(Clone, Copy)]
pub struct Place {
    /// Common configuration (4.1.4.3).
    pub common: u64,
    /// Doorbells, and the bytes between two of them.
    pub notify: u64,
    pub multiplier: u32,
    /// What this kind of device has to say (4.1.4.6).
    pub device: u64,
}

impl Place {
    fn step(self, status: u8) {
        write(self.common + common::STATUS, status);
    }

    /// Resets it, and agrees on those of `wanted` that it offers. What it does not offer of `needed` ends the
    /// machine.
    pub fn reset(self, wanted: u64, needed: u64) -> Handshake {
        let at = self.common;
        self.step(0);
        while read::<u8>(at + common::STATUS) != 0 {}
        // One after the other (3.1.1): some devices insist.
        self.step(ACKNOWLEDGE);
        self.step(ACKNOWLEDGE | DRIVER);
        let half = |select: u32| {
            write(at + common::FEATURE_SELECT, select);
            u64::from(read::<u32>(at + common::FEATURES))
        };
        let offered = half(0) | half(1) << 32;
        let needed = needed | VERSION_1;
        assert!(offered & needed == needed);
        let features = offered & wanted | needed;
        for select in 0..2u32 {
            write(at + common::DRIVER_SELECT, select);
            write(at + common::DRIVER_FEATURES, (features >> (32 * select)) as u32);
        }
        self.step(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert!(read::<u8>(at + common::STATUS) & FEATURES_OK != 0);
        Handshake { place: self, features }
    }

    /// Registers that hold an address of the queue that is selected, from and to.
    pub fn address_registers(self) -> (u64, u64) {
        let first = self.common + common::QUEUE_DESCRIPTORS;
        (first, first + 24)
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
        let at = self.place.common;
        write(at + common::QUEUE_SELECT, index);
        let size = depth.min(read(at + common::QUEUE_SIZE));
        write(at + common::QUEUE_SIZE, size);
        write(at + common::QUEUE_VECTOR, NO_VECTOR);
        let bell = u64::from(read::<u16>(at + common::QUEUE_NOTIFY));
        let ring = Ring {
            descriptors: arena.take_zeroed(u64::from(size) * 16),
            available: arena.take_zeroed(u64::from(size) * 2 + 6),
            used: arena.take_zeroed(u64::from(size) * 8 + 6),
            bell: self.place.notify + bell * u64::from(self.place.multiplier),
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
        let parts = [
            (common::QUEUE_DESCRIPTORS, ring.descriptors),
            (common::QUEUE_DRIVER, ring.available),
            (common::QUEUE_DEVICE, ring.used),
        ];
        for (register, part) in parts {
            write(at + register, part as u32);
            write(at + register + 4, (part >> 32) as u32);
        }
        write(at + common::QUEUE_ENABLE, 1u16);
        ring
    }

    /// All queues are there.
    pub fn done(self) {
        self.place.step(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }
}

/// One queue.
pub struct Ring {
    descriptors: u64,
    available: u64,
    used: u64,
    /// Its doorbell.
    pub bell: u64,
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
            write(self.bell, self.index);
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

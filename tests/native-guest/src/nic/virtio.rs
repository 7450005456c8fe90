//! virtio-net on split rings (virtio 1.2, 2.7 and 5.1), a descriptor for each frame.

use super::{BUFFER, Nic, Table, Targets, VirtioPlace};
use crate::memory::{Arena, barrier, read, write};
use crate::options::Options;

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

const CSUM: u64 = 1 << 0;
const HOST_TSO4: u64 = 1 << 11;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

const DESCRIPTOR_WRITE: u64 = 2 << 32;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// Bytes before each frame (`virtio_net_hdr_v1`).
const HEADER: u32 = 12;
/// Frame bytes before the payload of the TCP frames that are cut: Ethernet, IPv4, TCP.
const TCP_HEADERS: u16 = 54;

/// One queue.
struct Ring {
    descriptors: u64,
    available: u64,
    used: u64,
    bell: u64,
    index: u16,
    size: u16,
    event_idx: bool,
    buffers: u64,
    stride: u32,
    /// Counters of the frames made available, of those shown to the card, and of those that came back.
    put: u16,
    shown: u16,
    back: u16,
}

impl Ring {
    fn slot(&self, counter: u16) -> u64 {
        u64::from(counter & (self.size - 1))
    }

    fn buffer(&self, counter: u16) -> u64 {
        self.buffers + self.slot(counter) * u64::from(self.stride)
    }

    /// How many have come back since `back`.
    fn done(&self) -> u16 {
        read::<u16>(self.used + 2).wrapping_sub(self.back)
    }

    /// Makes the next buffer available; its descriptor says all but the length already.
    fn put(&mut self, len_and_flags: u64) {
        write(self.descriptors + self.slot(self.put) * 16 + 8, len_and_flags);
        self.put = self.put.wrapping_add(1);
    }

    fn show(&mut self) {
        let before = core::mem::replace(&mut self.shown, self.put);
        // Writes are seen in their order; the card's wish is to be read after they are out.
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
}

/// A virtio-net card.
pub struct Card {
    common: u64,
    rx: Ring,
    tx: Ring,
}

impl Card {
    /// Through the whole handshake, its receive ring full. What is not offered ends the machine.
    pub fn new(place: VirtioPlace, options: &Options) -> Card {
        let at = place.common;
        let step = |status: u8| write(at + common::STATUS, status);
        step(0);
        while read::<u8>(at + common::STATUS) != 0 {}
        // One after the other (3.1.1): some devices insist.
        step(ACKNOWLEDGE);
        step(ACKNOWLEDGE | DRIVER);
        let half = |select: u32| {
            write(at + common::FEATURE_SELECT, select);
            u64::from(read::<u32>(at + common::FEATURES))
        };
        let offered = half(0) | half(1) << 32;
        let mut features = VERSION_1;
        if options.event_idx {
            features |= offered & EVENT_IDX;
        }
        if options.tso > 0 {
            features |= CSUM | HOST_TSO4;
        }
        for select in 0..2u32 {
            write(at + common::DRIVER_SELECT, select);
            write(at + common::DRIVER_FEATURES, (features >> (32 * select)) as u32);
        }
        step(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert!(read::<u8>(at + common::STATUS) & FEATURES_OK != 0);
        let mut arena = Arena::new();
        let event_idx = features & EVENT_IDX != 0;
        let frame_room = options.len.max(BUFFER - HEADER) + HEADER;
        let mut ring = |index: u16, stride: u32| {
            write(at + common::QUEUE_SELECT, index);
            let size = options.depth.min(read(at + common::QUEUE_SIZE));
            write(at + common::QUEUE_SIZE, size);
            write(at + common::QUEUE_VECTOR, NO_VECTOR);
            let ring = Ring {
                descriptors: arena.take_zeroed(u64::from(size) * 16),
                available: arena.take_zeroed(u64::from(size) * 2 + 6),
                used: arena.take_zeroed(u64::from(size) * 8 + 6),
                bell: place.notify
                    + u64::from(read::<u16>(at + common::QUEUE_NOTIFY))
                        * u64::from(place.multiplier),
                index,
                size,
                event_idx,
                buffers: arena.take(u64::from(size) * u64::from(stride)),
                stride,
                put: 0,
                shown: 0,
                back: 0,
            };
            for counter in 0..size {
                write(ring.descriptors + ring.slot(counter) * 16, ring.buffer(counter));
                write(ring.available + 4 + ring.slot(counter) * 2, counter);
            }
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
        };
        let rx = ring(0, BUFFER);
        let tx = ring(1, frame_room.next_multiple_of(BUFFER));
        for counter in 0..tx.size {
            write_header(tx.buffer(counter), options.tso);
        }
        step(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        let mut card = Card { common: at, rx, tx };
        for _ in 0..card.rx.size {
            card.give();
        }
        card.show_given();
        card
    }
}

/// What is said of each frame of a buffer: nothing, or how it is to be cut (`virtio_net_hdr`).
fn write_header(at: u64, tso: u16) {
    let [s0, s1] = tso.to_le_bytes();
    let [h0, h1] = TCP_HEADERS.to_le_bytes();
    let header: [u8; HEADER as usize] = match tso {
        0 => [0; HEADER as usize],
        // NEEDS_CSUM, TCPV4, hdr_len, gso_size, csum_start 34, csum_offset 16.
        _ => [1, 1, h0, h1, s0, s1, 34, 0, 16, 0, 0, 0],
    };
    write(at, header);
}

impl Nic for Card {
    fn room(&mut self) -> u16 {
        let done = self.tx.done();
        self.tx.back = self.tx.back.wrapping_add(done);
        self.tx.size - self.tx.put.wrapping_sub(self.tx.back)
    }

    fn next(&self) -> (u64, u32) {
        (self.tx.buffer(self.tx.put) + u64::from(HEADER), self.tx.stride - HEADER)
    }

    fn put(&mut self, len: u32) {
        self.tx.put(u64::from(len + HEADER));
    }

    fn stop_cutting(&mut self) {
        for counter in 0..self.tx.size {
            write_header(self.tx.buffer(counter), 0);
        }
    }

    fn show(&mut self) {
        self.tx.show();
    }

    fn take(&mut self) -> Option<(u64, u32)> {
        if self.rx.done() == 0 {
            return None;
        }
        let len = read::<u32>(self.rx.used + 4 + self.rx.slot(self.rx.back) * 8 + 4);
        let at = self.rx.buffer(self.rx.back) + u64::from(HEADER);
        self.rx.back = self.rx.back.wrapping_add(1);
        Some((at, len.saturating_sub(HEADER)))
    }

    fn give(&mut self) {
        self.rx.put(u64::from(BUFFER) | DESCRIPTOR_WRITE);
    }

    fn show_given(&mut self) {
        self.rx.show();
    }

    fn targets(&self) -> Targets {
        let parts = |ring: &Ring| {
            let size = u64::from(ring.size);
            let descriptors = Table {
                at: ring.descriptors,
                slots: size,
                slot_len: 16,
                address: Some(0),
                numbers: (8, 16),
            };
            // Both as pairs of bytes, their heads and the events behind them included.
            let words =
                |at, slots| Table { at, slots, slot_len: 2, address: None, numbers: (0, 2) };
            [descriptors, words(ring.available, size + 3), words(ring.used, size * 4 + 3)]
        };
        let ([a, b, c], [d, e, f]) = (parts(&self.rx), parts(&self.tx));
        let address = self.common + common::QUEUE_DESCRIPTORS;
        Targets {
            tables: [a, b, c, d, e, f],
            bells: [self.rx.bell, self.tx.bell],
            bell_len: 2,
            address_registers: [(address, address + 24), (0, 0), (0, 0), (0, 0)],
        }
    }
}

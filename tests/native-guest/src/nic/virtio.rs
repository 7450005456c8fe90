//! virtio-net on split rings (virtio 1.2, 2.7 and 5.1), a descriptor for each frame.

use super::virtio_registers::{Bell, Registers};
use super::{BUFFER, Nic, Table, Targets, VirtioPlace};
use crate::memory::{Arena, barrier, read, write};
use crate::options::Options;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

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
    bell: Bell,
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
            self.bell.ring(self.index);
        }
    }
}

/// A virtio-net card.
pub struct Card {
    registers: Registers,
    rx: Ring,
    tx: Ring,
}

impl Card {
    /// Through the whole handshake, its receive ring full. What is not offered ends the machine.
    pub fn new(place: VirtioPlace, options: &Options) -> Card {
        let registers = Registers(place);
        registers.set_status(0);
        while registers.status() != 0 {}
        // One after the other (3.1.1): some devices insist.
        registers.set_status(ACKNOWLEDGE);
        registers.set_status(ACKNOWLEDGE | DRIVER);
        let offered = registers.features();
        let mut features = VERSION_1;
        if options.event_idx {
            features |= offered & EVENT_IDX;
        }
        if options.tso > 0 {
            features |= CSUM | HOST_TSO4;
        }
        registers.accept(features);
        registers.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert!(registers.status() & FEATURES_OK != 0);
        let mut arena = Arena::new();
        let event_idx = features & EVENT_IDX != 0;
        let frame_room = options.len.max(BUFFER - HEADER) + HEADER;
        let mut ring = |index: u16, stride: u32| {
            let size = options.depth.min(registers.select(index));
            let ring = Ring {
                descriptors: arena.take_zeroed(u64::from(size) * 16),
                available: arena.take_zeroed(u64::from(size) * 2 + 6),
                used: arena.take_zeroed(u64::from(size) * 8 + 6),
                bell: registers.bell(),
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
            registers.enable(size, [ring.descriptors, ring.available, ring.used]);
            ring
        };
        let rx = ring(0, BUFFER);
        let tx = ring(1, frame_room.next_multiple_of(BUFFER));
        for counter in 0..tx.size {
            write_header(tx.buffer(counter), options.tso);
        }
        registers.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        let mut card = Card { registers, rx, tx };
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
        let (first, step) = self.registers.parts();
        let part = |number: u64| {
            let at = first + number * step as u64;
            (at, at + 8)
        };
        Targets {
            tables: [a, b, c, d, e, f],
            bells: [self.rx.bell.at, self.tx.bell.at],
            bell_len: self.rx.bell.len,
            address_registers: [part(0), part(1), part(2), (0, 0)],
        }
    }
}

//! virtio-net (virtio 1.2, 5.1), a descriptor for each frame.

use super::{BUFFER, Pair as _, Pairs};
use crate::memory::{Arena, read, write};
use crate::options::Options;
use crate::targets::Targets;
use crate::virtio::{EVENT_IDX, Handshake, NEXT, Place, Ring, WRITE};

const CSUM: u64 = 1 << 0;
const HOST_TSO4: u64 = 1 << 11;
const CTRL_VQ: u64 = 1 << 17;
const MQ: u64 = 1 << 22;

/// Of the device configuration (5.1.4): how many pairs there can be.
const MAX_PAIRS: u64 = 8;
/// VIRTIO_NET_CTRL_MQ and its VQ_PAIRS_SET (5.1.6.5.5).
const PAIRS_SET: [u8; 2] = [4, 0];
const ACCEPTED: u8 = 0;
/// Descriptors of the control queue: one command has three.
const CONTROL_DEPTH: u16 = 16;

/// Bytes before each frame (`virtio_net_hdr_v1`).
const HEADER: u32 = 12;
/// Frame bytes before the payload of the TCP frames that are cut: Ethernet, IPv4, TCP.
const TCP_HEADERS: u16 = 54;

/// A ring and its buffers.
struct Lane {
    ring: Ring,
    buffers: u64,
    stride: u32,
}

impl Lane {
    fn new(device: &Handshake, index: u16, depth: u16, stride: u32, arena: &mut Arena) -> Lane {
        let ring = device.ring(index, depth, arena);
        let buffers = arena.take(u64::from(ring.size) * u64::from(stride));
        let lane = Lane { ring, buffers, stride };
        for counter in 0..lane.ring.size {
            lane.ring.describe(lane.ring.slot(counter), lane.buffer(counter), 0);
            lane.ring.set_head(counter, counter);
        }
        lane
    }

    fn buffer(&self, counter: u16) -> u64 {
        self.buffers + self.ring.slot(counter) * u64::from(self.stride)
    }

    /// Makes the next buffer available; its descriptor says all but the length already.
    fn put(&mut self, len_and_flags: u64) {
        self.ring.describe_rest(self.ring.slot(self.ring.put), len_and_flags);
        self.ring.put = self.ring.put.wrapping_add(1);
    }
}

/// A pair of queues.
pub struct Pair {
    place: Place,
    rx: Lane,
    tx: Lane,
}

/// Takes the card through the whole handshake. What is not offered ends the machine.
pub fn open(place: Place, options: &Options) -> Pairs<Pair> {
    let mut needed = 0;
    if options.tso > 0 {
        needed |= CSUM | HOST_TSO4;
    }
    if options.queues > 1 {
        needed |= CTRL_VQ | MQ;
    }
    let device = place.reset(if options.event_idx { EVENT_IDX } else { 0 }, needed);
    let mut arena = Arena::new();
    let frame_room = options.len.max(BUFFER - HEADER) + HEADER;
    let mut pairs = Pairs::new(options.queues, |index| {
        let mut lane = |index, stride| Lane::new(&device, index, options.depth, stride, &mut arena);
        let rx = lane(2 * index, BUFFER);
        let tx = lane(2 * index + 1, frame_room.next_multiple_of(BUFFER));
        for counter in 0..tx.ring.size {
            write_header(tx.buffer(counter), options.tso);
        }
        Pair { place, rx, tx }
    });
    if options.queues > 1 {
        // It comes behind all pairs that there can be (5.1.2).
        let most = read::<u16>(place.configuration() + MAX_PAIRS);
        assert!(options.queues <= most);
        let mut control = device.ring(2 * most, CONTROL_DEPTH, &mut arena);
        device.done();
        set_pairs(&mut control, options.queues, arena.take(4096));
    } else {
        device.done();
    }
    for pair in pairs.iter_mut() {
        for _ in 0..pair.rx.ring.size {
            pair.give();
        }
        pair.show_given();
    }
    pairs
}

/// Tells the card how many pairs it may use, by a command at `at`, and waits until it does.
fn set_pairs(control: &mut Ring, pairs: u16, at: u64) {
    write(at, PAIRS_SET);
    write(at + 2, pairs);
    write(at + 4, !ACCEPTED);
    control.describe(0, at, 2 | NEXT | 1 << 48);
    control.describe(1, at + 2, 2 | NEXT | 2 << 48);
    control.describe(2, at + 4, 1 | WRITE);
    control.set_head(control.put, 0);
    control.put = control.put.wrapping_add(1);
    control.show();
    while control.done() == 0 {}
    assert!(read::<u8>(at + 4) == ACCEPTED);
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

impl super::Pair for Pair {
    fn room(&mut self) -> u16 {
        let ring = &mut self.tx.ring;
        ring.back = ring.back.wrapping_add(ring.done());
        ring.size - ring.put.wrapping_sub(ring.back)
    }

    fn next(&self) -> (u64, u32) {
        (self.tx.buffer(self.tx.ring.put) + u64::from(HEADER), self.tx.stride - HEADER)
    }

    fn put(&mut self, len: u32) {
        self.tx.put(u64::from(len + HEADER));
    }

    fn stop_cutting(&mut self) {
        // Until the device has read each header that says how to cut.
        self.show();
        while self.room() < self.tx.ring.size {}
        for counter in 0..self.tx.ring.size {
            write_header(self.tx.buffer(counter), 0);
        }
    }

    fn show(&mut self) {
        self.tx.ring.show();
    }

    fn take(&mut self) -> Option<(u64, u32)> {
        if self.rx.ring.done() == 0 {
            return None;
        }
        let at = self.rx.buffer(self.rx.ring.back) + u64::from(HEADER);
        let (_, len) = self.rx.ring.take();
        Some((at, len.saturating_sub(HEADER)))
    }

    fn give(&mut self) {
        self.rx.put(u64::from(BUFFER) | WRITE);
    }

    fn show_given(&mut self) {
        self.rx.ring.show();
    }

    fn targets(&self) -> Targets {
        let ([a, b, c], [d, e, f]) = (self.rx.ring.tables(), self.tx.ring.tables());
        Targets {
            tables: [a, b, c, d, e, f],
            bells: [self.rx.ring.bell.at, self.tx.ring.bell.at],
            bell_len: self.rx.ring.bell.len,
            address_registers: self.place.address_registers(),
        }
    }
}

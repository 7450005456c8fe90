//! virtio-blk (virtio 1.2, 5.2), by chains of descriptors.

use super::{Disk, Geometry, MOST_PIECES, MOST_QUEUES, Operation, Request, SECTOR};
use crate::memory::{read, write};
use crate::options::Options;
use crate::targets::{Table, Targets};
use crate::virtio::{EVENT_IDX, NEXT, Place, Ring, WRITE};

/// Features (5.2.3).
const SEG_MAX: u64 = 1 << 2;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const MQ: u64 = 1 << 12;

/// Fields of the device configuration (5.2.4).
const CAPACITY: u64 = 0x00;
const SEGMENTS: u64 = 0x0c;
const BLOCK: u64 = 0x14;
const QUEUES: u64 = 0x22;

/// Types of requests (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_ALL: u32 = 4;
const OK: u8 = 0;
const NOT_DONE: u8 = 0xff;

/// Entries of each ring, if there are as many.
const DEPTH: u16 = 1024;
/// Bytes before and behind the data: a header and, after it in memory, the status.
const HEADER: u64 = 16;
const HEADER_STRIDE: u64 = 32;
/// Bytes of one request; no device says how many are too many.
const MOST: u64 = 1 << 20;

/// One queue, and the headers of its tags.
struct Queue {
    ring: Ring,
    headers: u64,
    /// Descriptors of a tag.
    slots: u16,
}

/// A virtio-blk disk.
pub struct Blk {
    place: Place,
    geometry: Geometry,
    queues: [Option<Queue>; MOST_QUEUES as usize],
}

impl Blk {
    /// Through the whole handshake, with as many queues as the options say.
    pub fn open(place: Place, options: &Options) -> Blk {
        let mut wanted = SEG_MAX | BLK_SIZE | FLUSH;
        if options.event_idx {
            wanted |= EVENT_IDX;
        }
        let device = place.reset(wanted, if options.queues > 1 { MQ } else { 0 });
        let at = place.configuration();
        let has = |feature| device.features & feature != 0;
        let sectors =
            u64::from(read::<u32>(at + CAPACITY)) | u64::from(read::<u32>(at + CAPACITY + 4)) << 32;
        let block = if has(BLK_SIZE) { u64::from(read::<u32>(at + BLOCK)) } else { SECTOR };
        let segments = if has(SEG_MAX) { read::<u32>(at + SEGMENTS) as usize } else { 1 };
        assert!(options.queues == 1 || options.queues <= read::<u16>(at + QUEUES));
        let mut arena = options.arena();
        let mut queues = [const { None }; MOST_QUEUES as usize];
        let mut pieces = segments.clamp(1, MOST_PIECES);
        for (index, queue) in (0..options.queues).zip(&mut queues) {
            let ring = device.ring(index, DEPTH, &mut arena);
            let slots = (ring.size / options.in_flight).min(2 + pieces as u16);
            assert!(slots > 2);
            pieces = usize::from(slots - 2);
            let headers = arena.take_zeroed(u64::from(options.in_flight) * HEADER_STRIDE);
            *queue = Some(Queue { ring, headers, slots });
        }
        device.done();
        let geometry = Geometry {
            sectors,
            block: (block / SECTOR).max(1),
            most: MOST,
            pieces: Some(pieces),
            queues: options.queues,
            in_flight: options.in_flight,
        };
        Blk { place, geometry, queues }
    }

    fn queue(&mut self, queue: u16) -> &mut Queue {
        match &mut self.queues[usize::from(queue)] {
            Some(queue) => queue,
            None => unreachable!("geometry says how many there are"),
        }
    }
}

impl Disk for Blk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn put(&mut self, queue: u16, tag: u16, request: Request<'_>) {
        let queue = self.queue(queue);
        let header = queue.headers + u64::from(tag) * HEADER_STRIDE;
        let (kind, direction) = match request.operation {
            Operation::Read => (IN, WRITE),
            Operation::Write => (OUT, 0),
            Operation::Flush => (FLUSH_ALL, 0),
        };
        let sector = if request.operation == Operation::Flush { 0 } else { request.sector };
        write(header, u64::from(kind));
        write(header + 8, sector);
        write(header + HEADER, NOT_DONE);
        let ring = &mut queue.ring;
        let first = u64::from(tag) * u64::from(queue.slots);
        let mut slot = first;
        let mut chain = |at, rest| {
            ring.describe(slot, at, rest | NEXT | (slot + 1) << 48);
            slot += 1;
        };
        chain(header, HEADER);
        for piece in request.pieces {
            chain(piece.at, u64::from(piece.len) | direction);
        }
        ring.describe(slot, header + HEADER, 1 | WRITE);
        ring.set_head(ring.put, first as u16);
        ring.put = ring.put.wrapping_add(1);
    }

    fn show(&mut self, queue: u16) {
        self.queue(queue).ring.show();
    }

    fn take(&mut self, queue: u16) -> Option<(u16, bool)> {
        let queue = self.queue(queue);
        if queue.ring.done() == 0 {
            return None;
        }
        let (head, _) = queue.ring.take();
        // Heads that are none of ours are no tags either.
        let slots = u32::from(queue.slots);
        let tag = if head % slots == 0 { (head / slots) as u16 } else { u16::MAX };
        let status = queue.headers + u64::from(tag) * HEADER_STRIDE + HEADER;
        Some((tag, tag != u16::MAX && read::<u8>(status) == OK))
    }

    fn targets(&self, queue: u16) -> Targets {
        let Some(queue) = &self.queues[usize::from(queue)] else {
            unreachable!("geometry says how many there are")
        };
        let [descriptors, available, used] = queue.ring.tables();
        let tags = u64::from(self.geometry.in_flight);
        let headers =
            Table { numbers: (0, HEADER), ..Table::new(queue.headers, tags, HEADER_STRIDE) };
        Targets {
            tables: [descriptors, descriptors, available, used, headers, headers],
            bells: [queue.ring.bell.at; 2],
            bell_len: queue.ring.bell.len,
            address_registers: self.place.address_registers(),
        }
    }
}

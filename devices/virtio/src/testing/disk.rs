//! A small virtio-blk driver: plugs a disk's queues, offers requests of any shape, and looks at what came back.

use std::sync::Arc;

use block::engine::script::Stage;
use block::image::Image;
use block::port::DiskPort;
use block::spec::DiskSpec;
use device_core::GuestRam;
use device_core::interrupt::{MsiSet, Route};
use device_core::testing::{TestMachine, TestMsiSet, ram_at};
use device_core::worker::Threads;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{Bytes, GuestAddress};

use super::nic::TestNotice;
use super::ring::{DriverRing, readable, writable};
use crate::block::Block;
use crate::device::{LiveQueue, VirtioDevice};
use crate::ring::Buffer;

/// Size of the rings, as the disk's.
pub const RING: u16 = 256;
const RING_BYTES: u64 = DriverRing::bytes(RING);
/// Where rings, then buffers, lie in memory.
const RINGS_AT: u64 = 0x1_0000;
const BUFFERS_AT: u64 = 0x40_0000;
/// Where two regions of RAM touch, and where there is none for a while.
pub const SEAM: u64 = 0x100_0000;
/// The first byte behind RAM.
pub const GAP: u64 = 0x200_0000;
/// RAM behind the gap.
pub const HIGH: u64 = 0x8000_0000;
const REGIONS: [(u64, usize); 3] =
    [(0, SEAM as usize), (SEAM, (GAP - SEAM) as usize), (HIGH, 0x10_0000)];

/// Bytes of a scripted disk.
pub const SIZE: u64 = 4 << 20;

/// Types of requests (virtio 1.2, 5.2.6): IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES.
pub const IN: u32 = 0;
/// Writes.
pub const OUT: u32 = 1;
/// Flushes.
pub const FLUSH: u32 = 4;
/// Asks for the name.
pub const GET_ID: u32 = 8;
/// Discards ranges.
pub const DISCARD: u32 = 11;
/// Zeroes ranges.
pub const WRITE_ZEROES: u32 = 13;

/// Statuses: OK, IOERR, UNSUPP.
pub const OK: u8 = 0;
/// It failed.
pub const IOERR: u8 = 1;
/// There is no such request.
pub const UNSUPP: u8 = 2;
/// What a status is before the disk writes it.
pub const UNTOUCHED: u8 = 0xee;

/// INDIRECT_DESC and EVENT_IDX.
pub const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// FLUSH; this and the following are features of a disk (virtio 1.2, 5.2.3).
pub const F_FLUSH: u64 = 1 << 9;
/// CONFIG_WCE.
pub const F_CONFIG_WCE: u64 = 1 << 11;
/// MQ.
pub const F_MQ: u64 = 1 << 12;
/// DISCARD and WRITE_ZEROES.
pub const F_RANGES: u64 = 1 << 13 | 1 << 14;
/// What a usual driver takes.
pub const USUAL: u64 = INDIRECT | F_FLUSH | F_MQ | F_RANGES | 1 << 2 | 1 << 6 | 1 << 10;

/// A request on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The chain's.
    pub head: u16,
    /// Where its status goes.
    pub status_at: u64,
}

/// A disk and its driver.
pub struct TestDisk {
    /// What the disk was built with.
    pub machine: TestMachine,
    /// The guest's memory, with all rings and buffers.
    pub memory: GuestRam,
    /// The disk, without a transport.
    pub block: Arc<Block>,
    /// The host's side of it.
    pub stage: Stage,
    /// What the disk has told.
    pub notice: Arc<TestNotice>,
    /// One for each queue.
    pub vectors: Arc<TestMsiSet>,
    /// The rings.
    pub queues: Vec<DriverRing>,
    features: u64,
    next_buffer: u64,
}

impl TestDisk {
    /// A disk of one queue, its driver loaded with usual features.
    pub fn new() -> TestDisk {
        let mut disk = TestDisk::with(&DiskSpec::on("test", "memory"), 1, false);
        disk.start(USUAL);
        disk
    }

    /// A disk of `queues` queues, its driver not yet loaded; rings with or without EVENT_IDX.
    pub fn with(spec: &DiskSpec, queues: u16, event_idx: bool) -> TestDisk {
        TestDisk::on(spec, Image::in_memory(SIZE, spec.read_only, None), queues, event_idx)
    }

    /// The same on an image made by the caller.
    pub fn on(spec: &DiskSpec, image: Image, queues: u16, event_idx: bool) -> TestDisk {
        let mut machine = TestMachine::new(ram_at(&REGIONS));
        machine.threads = Threads::by_hand().unwrap();
        let (port, stage) = DiskPort::scripted(spec, image, queues, &machine.kit());
        let block = Block::on_port(port, &machine.kit());
        let vectors = TestMsiSet::new(queues);
        let routes: Vec<_> =
            (0..queues).map(|index| Route { index, to: Some(Default::default()) }).collect();
        vectors.route(&routes).unwrap();
        let mut disk = TestDisk {
            memory: machine.memory.clone(),
            machine,
            block,
            stage,
            notice: Arc::default(),
            vectors,
            queues: Vec::new(),
            features: 0,
            next_buffer: BUFFERS_AT,
        };
        disk.new_rings(queues, RING, event_idx);
        disk
    }

    /// Fresh rings in memory that is zeroed for them.
    pub fn new_rings(&mut self, queues: u16, size: u16, event_idx: bool) {
        let zeroes = vec![0; (RING_BYTES * u64::from(queues)) as usize];
        self.write(RINGS_AT, &zeroes);
        let ring =
            |nth: u64| DriverRing::new(&self.memory, RINGS_AT + nth * RING_BYTES, size, event_idx);
        self.queues = (0..u64::from(queues)).map(ring).collect();
        self.next_buffer = BUFFERS_AT;
    }

    /// Loads the driver: plugs all queues with these features.
    pub fn start(&mut self, features: u64) {
        self.features = features;
        self.block.plug(features, self.live(), self.notice.clone()).unwrap();
        self.block.settle();
    }

    /// The device's halves of all rings, from their beginning.
    pub fn live(&self) -> Vec<LiveQueue> {
        let queues = (0u16..).zip(&self.queues);
        queues.map(|(index, ring)| ring.live(index, self.vectors.vector(index))).collect()
    }

    /// Guest memory not used before.
    pub fn buffer(&mut self, len: u32) -> u64 {
        let at = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(64);
        assert!(self.next_buffer <= SEAM, "the test uses too much memory");
        at
    }

    /// Writes `bytes` to guest memory at `at`.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Reads `len` bytes of guest memory at `at`.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// A header in memory.
    pub fn header(&mut self, kind: u32, sector: u64) -> u64 {
        let at = self.buffer(16);
        self.write(at, &kind.to_le_bytes());
        self.write(at + 4, &[0; 4]);
        self.write(at + 8, &sector.to_le_bytes());
        at
    }

    /// A status in memory, not yet written by the disk.
    pub fn status(&mut self) -> u64 {
        let at = self.buffer(1);
        self.write(at, &[UNTOUCHED]);
        at
    }

    /// Offers a request as Linux does: a header, data, a status.
    pub fn offer(&mut self, queue: usize, kind: u32, sector: u64, data: &[Buffer]) -> Offer {
        let (header, status_at) = (self.header(kind, sector), self.status());
        let mut chain = vec![readable(header, 16)];
        chain.extend(data);
        chain.push(writable(status_at, 1));
        let table = self.buffer(chain.len() as u32 * 16);
        let head = match self.features & INDIRECT {
            0 => self.queues[queue].offer(&chain),
            _ => self.queues[queue].offer_indirect(table, &chain),
        };
        Offer { head, status_at }
    }

    /// Kicks, and returns after a turn of the disk.
    pub fn run(&mut self, queue: usize) {
        self.queues[queue].kick();
        self.block.settle();
    }

    /// Runs a request on queue 0: its status, and how much the disk says it wrote. Panics if it did not come
    /// back.
    pub fn one(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
        let offer = self.offer(0, kind, sector, data);
        self.run(0);
        // What takes many calls of the host takes some turns.
        (0..16).for_each(|_| self.block.settle());
        let (head, len) = self.queues[0].take().expect("a request that came back");
        assert_eq!(head, offer.head);
        (self.read(offer.status_at, 1)[0], len)
    }

    /// Runs a chain of any shape on queue 0; what the disk says it wrote. Panics if it did not come back.
    pub fn chain(&mut self, chain: &[Buffer]) -> u32 {
        let table = self.buffer(chain.len() as u32 * 16);
        let head = self.queues[0].offer_indirect(table, chain);
        self.run(0);
        let (back, len) = self.queues[0].take().expect("a chain that came back");
        assert_eq!(back, head);
        len
    }

    /// Ranges for a discard or the like, in memory, as (sector, count, flags).
    pub fn ranges(&mut self, ranges: &[(u64, u32, u32)]) -> Buffer {
        let at = self.buffer(ranges.len() as u32 * 16);
        for (place, (sector, count, flags)) in (at..).step_by(16).zip(ranges) {
            self.write(place, &sector.to_le_bytes());
            self.write(place + 8, &count.to_le_bytes());
            self.write(place + 12, &flags.to_le_bytes());
        }
        readable(at, ranges.len() as u32 * 16)
    }

    /// The disk's counter `name`, of all queues. Panics if it has none of that name.
    pub fn count(&self, name: &str) -> u64 {
        let count = |lane: &Arc<block::stats::LaneStats>| {
            lane.counters.values().find(|(known, _)| *known == name).expect("a known counter").1
        };
        self.block.port().stats().iter().map(count).sum()
    }
}

impl Default for TestDisk {
    fn default() -> TestDisk {
        TestDisk::new()
    }
}

/// Bytes that are different from their neighbours.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8 ^ seed).collect()
}

//! A guest with memory, rings and vectors, for devices that need no more of a driver: it plugs queues, offers
//! chains, and looks at what came back.

use std::sync::Arc;

use device_core::GuestRam;
use device_core::interrupt::{MsiSet, Route};
use device_core::testing::{TestMachine, TestMsiSet, ram_at};
use device_core::worker::Threads;
use vm_memory::{Bytes, GuestAddress};

use super::nic::TestNotice;
use super::ring::DriverRing;
use crate::device::{LiveQueue, VirtioDevice};
use crate::ring::Buffer;

/// Size of the rings.
pub const RING: u16 = 64;
const RING_BYTES: u64 = DriverRing::bytes(RING);
const RINGS_AT: u64 = 0x1_0000;
const BUFFERS_AT: u64 = 0x10_0000;
/// Where two regions of RAM touch.
pub const SEAM: u64 = 0x40_0000;
/// The first byte behind RAM.
pub const GAP: u64 = 0x80_0000;
/// RAM behind the gap.
pub const HIGH: u64 = 0x1_0000_0000;
/// The last byte of RAM, and one more.
pub const END: u64 = HIGH + 0x40_0000;
const REGIONS: [(u64, usize); 3] =
    [(0, SEAM as usize), (SEAM, (GAP - SEAM) as usize), (HIGH, (END - HIGH) as usize)];

/// The guest.
pub struct TestGuest {
    /// What devices are built with; their workers run by hand.
    pub machine: TestMachine,
    /// RAM, with all rings and buffers.
    pub memory: GuestRam,
    /// What the device has told.
    pub notice: Arc<TestNotice>,
    /// One for each queue.
    pub vectors: Arc<TestMsiSet>,
    /// The rings.
    pub queues: Vec<DriverRing>,
    next_buffer: u64,
}

impl TestGuest {
    /// A guest with so many rings, with or without EVENT_IDX.
    pub fn new(queues: u16, event_idx: bool) -> TestGuest {
        TestGuest::on(ram_at(&REGIONS), queues, event_idx)
    }

    /// The same with other memory, of 2 MiB at least.
    pub fn on(memory: GuestRam, queues: u16, event_idx: bool) -> TestGuest {
        let mut machine = TestMachine::new(memory);
        machine.threads = Threads::by_hand().unwrap();
        let vectors = TestMsiSet::new(queues);
        let routes: Vec<_> =
            (0..queues).map(|index| Route { index, to: Some(Default::default()) }).collect();
        vectors.route(&routes).unwrap();
        let mut guest = TestGuest {
            memory: machine.memory.clone(),
            machine,
            notice: Arc::default(),
            vectors,
            queues: Vec::new(),
            next_buffer: BUFFERS_AT,
        };
        guest.new_rings(queues, event_idx);
        guest
    }

    /// Fresh rings in memory that is zeroed for them.
    pub fn new_rings(&mut self, queues: u16, event_idx: bool) {
        self.write(RINGS_AT, &vec![0; (RING_BYTES * u64::from(queues)) as usize]);
        let at = |nth| RINGS_AT + u64::from(nth) * RING_BYTES;
        let ring = |nth| DriverRing::new(&self.memory, at(nth), RING, event_idx);
        self.queues = (0..queues).map(ring).collect();
        self.next_buffer = BUFFERS_AT;
    }

    /// The device's halves of all rings, from their beginning.
    pub fn live(&self) -> Vec<LiveQueue> {
        let queues = (0u16..).zip(&self.queues);
        queues.map(|(index, ring)| ring.live(index, self.vectors.vector(index))).collect()
    }

    /// Loads a driver of `device`: plugs all queues. Panics if it does not take them.
    pub fn plug(&self, device: &dyn VirtioDevice, features: u64) {
        device.plug(features, self.live(), self.notice.clone()).unwrap();
    }

    /// Guest memory below the seam not used before.
    pub fn buffer(&mut self, len: u32) -> u64 {
        let at = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(64);
        assert!(self.next_buffer <= SEAM, "the test uses too much memory");
        at
    }

    /// A buffer that the device reads, with these bytes.
    pub fn readable(&mut self, bytes: &[u8]) -> Buffer {
        let len = bytes.len() as u32;
        let addr = self.buffer(len);
        self.write(addr, bytes);
        Buffer { addr, len, writable: false }
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

    /// Interrupts of queue `index` so far.
    pub fn interrupts(&self, index: u16) -> u64 {
        self.vectors.test_vector(index).delivered()
    }
}

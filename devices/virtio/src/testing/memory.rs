//! A small virtio-mem driver: plugs blocks and takes them away, and asks for their state.

use std::sync::Arc;

use device_core::testing::{TestHotRegion, ram_with_hot};

use super::guest::TestGuest;
use super::ring::writable;
use crate::memory::{HotMemory, HotMemorySpec, UNPLUGGED_INACCESSIBLE};

/// Guest-physical address of the first block.
pub const START: u64 = 0x1_0000_0000;
/// Bytes of a block.
pub const BLOCK: u64 = 2 << 20;
/// Blocks of a slot, and slots of the region.
pub const SLOT_BLOCKS: u64 = 64;
/// All blocks.
pub const BLOCKS: u64 = 2 * SLOT_BLOCKS;
/// Bytes of other RAM.
const RAM: usize = 8 << 20;

/// VIRTIO_MEM_REQ_PLUG, a type of request.
pub const PLUG: u16 = 0;
/// VIRTIO_MEM_REQ_UNPLUG.
pub const UNPLUG: u16 = 1;
/// VIRTIO_MEM_REQ_UNPLUG_ALL.
pub const UNPLUG_ALL: u16 = 2;
/// VIRTIO_MEM_REQ_STATE.
pub const STATE: u16 = 3;

/// VIRTIO_MEM_RESP_ACK, a type of answer.
pub const ACK: u16 = 0;
/// VIRTIO_MEM_RESP_NACK.
pub const NACK: u16 = 1;
/// VIRTIO_MEM_RESP_BUSY.
pub const BUSY: u16 = 2;
/// VIRTIO_MEM_RESP_ERROR.
pub const ERROR: u16 = 3;

/// Memory that is plugged, and its driver.
pub struct TestHotMemory {
    /// The guest.
    pub guest: TestGuest,
    /// The device, without a transport.
    pub device: Arc<HotMemory>,
}

/// 256 MiB, of which the guest is to have this many MiB.
pub fn spec(requested_mib: u32) -> HotMemorySpec {
    HotMemorySpec { requested_mib, ..HotMemorySpec::of(256) }
}

/// A request as it lies in memory.
pub fn request(kind: u16, address: u64, count: u16) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&address.to_le_bytes());
    bytes[16..18].copy_from_slice(&count.to_le_bytes());
    bytes
}

impl TestHotMemory {
    /// With this much for the guest to have, its driver loaded.
    pub fn new(requested_mib: u32) -> TestHotMemory {
        let test = TestHotMemory::without_driver(requested_mib);
        test.start();
        test
    }

    /// The same before a driver is loaded.
    pub fn without_driver(requested_mib: u32) -> TestHotMemory {
        let len = (BLOCKS * BLOCK) as usize;
        let guest = TestGuest::on(ram_with_hot(&[(0, RAM)], (START, len, BLOCK)), 1, false);
        let device = HotMemory::build(&spec(requested_mib), &guest.machine.kit()).unwrap();
        TestHotMemory { guest, device }
    }

    /// Loads the driver.
    pub fn start(&self) {
        self.guest.plug(&*self.device, UNPLUGGED_INACCESSIBLE);
        self.device.settle();
    }

    /// The region's double.
    pub fn region(&self) -> &TestHotRegion {
        self.guest.machine.hot.as_ref().unwrap()
    }

    /// Asks, without a kick; where the answer goes.
    pub fn offer(&mut self, kind: u16, block: u64, count: u16) -> u64 {
        let request = self.guest.readable(&request(kind, START + block * BLOCK, count));
        let answer = self.guest.buffer(10);
        self.guest.write(answer, &[0xee; 10]);
        self.guest.queues[0].offer(&[request, writable(answer, 10)]);
        answer
    }

    /// Asks, and lets the device work: type and state of the answer.
    pub fn ask(&mut self, kind: u16, block: u64, count: u16) -> (u16, u16) {
        let answer = self.offer(kind, block, count);
        self.run();
        assert_eq!(self.guest.queues[0].take().map(|(_, len)| len), Some(10));
        self.answer(answer)
    }

    /// Type and state of an answer in memory.
    pub fn answer(&self, at: u64) -> (u16, u16) {
        let bytes = self.guest.read(at, 10);
        assert_eq!(bytes[2..8], [0; 6], "padding");
        (u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[8], bytes[9]]))
    }

    /// Kicks, and returns after turns of the device that are enough for any request of a test.
    pub fn run(&mut self) {
        self.guest.queues[0].force_kick();
        (0..40).for_each(|_| self.device.settle());
    }

    /// Plugged blocks as runs.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        use device_core::hot_region::HotRegion;
        self.region().blocks().runs().collect()
    }
}

//! The test device in an MMIO slot, and a driver for it, written after Linux's virtio_mmio.

use std::sync::Arc;

use device_core::GuestRam;
use device_core::bus::{Bus, BusView, Width};
use device_core::device::{Device, MmioSlot};
use device_core::snapshot::LoadError;
use device_core::testing::{TestLine, TestMachine, ram_at};

use super::mmio::{LEN, VirtioMmio};
use super::test_device::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, EVENT_IDX, FEATURES, FEATURES_OK, INDIRECT, RAM_LEN, Rings,
    SECOND_RAM, SIZES, TestDevice, VERSION_1, rings,
};
use Width::B4;

/// Where the slot is.
pub const AT: u64 = 0xfe00_0000;

// Registers' offsets (linux/virtio_mmio.h).
pub const MAGIC_VALUE: u64 = 0x000;
pub const DEVICE_FEATURES: u64 = 0x010;
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
pub const DRIVER_FEATURES: u64 = 0x020;
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
pub const QUEUE_SEL: u64 = 0x030;
pub const QUEUE_NUM_MAX: u64 = 0x034;
pub const QUEUE_NUM: u64 = 0x038;
pub const QUEUE_READY: u64 = 0x044;
pub const QUEUE_NOTIFY: u64 = 0x050;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACK: u64 = 0x064;
pub const STATUS: u64 = 0x070;
pub const QUEUE_DESC: u64 = 0x080;
pub const QUEUE_AVAIL: u64 = 0x090;
pub const QUEUE_USED: u64 = 0x0a0;
pub const SHM_SEL: u64 = 0x0ac;
pub const SHM_LEN: u64 = 0x0b0;
pub const CONFIG_GENERATION: u64 = 0x0fc;
pub const CONFIG: u64 = 0x100;

/// A machine with the device in its slot, and the device's driver.
pub struct Slot {
    pub machine: TestMachine,
    pub card: Arc<VirtioMmio>,
    pub device: Arc<TestDevice>,
    pub line: Arc<TestLine>,
    pub mmio: Arc<Bus>,
    pub cpu: BusView,
}

impl Slot {
    pub fn new() -> Slot {
        Slot::with_memory(ram_at(&[(0, RAM_LEN), (SECOND_RAM, RAM_LEN)]))
    }

    /// With that memory.
    pub fn with_memory(memory: GuestRam) -> Slot {
        let machine = TestMachine::new(memory.clone());
        let device = Arc::new(TestDevice::in_memory(memory));
        let line = Arc::new(TestLine::default());
        let slot = MmioSlot { address: AT, line: line.clone() };
        let card = VirtioMmio::new(device.clone(), &machine.kit(), &slot).unwrap();
        let mmio = Bus::new();
        mmio.insert(AT, LEN, card.clone()).unwrap();
        Slot { machine, card, device, line, cpu: mmio.view(), mmio }
    }

    /// The state of the device, as text; the machine goes on.
    pub fn saved(&self) -> String {
        self.pause();
        let saved = Device::save(&*self.card).unwrap();
        self.resume();
        serde_json::to_string(&saved).unwrap()
    }

    /// Another machine with this memory and that state. Fails if it is refused.
    pub fn elsewhere(&self, saved: &str) -> Result<Slot, LoadError> {
        let slot = Slot::with_memory(self.machine.memory.clone());
        slot.pause();
        Device::load(&*slot.card, &serde_json::from_str(saved).unwrap())?;
        slot.resume();
        Ok(slot)
    }

    pub fn read(&mut self, offset: u64) -> u64 {
        self.cpu.read(AT + offset, B4).unwrap()
    }

    pub fn write(&mut self, offset: u64, value: u64) {
        assert!(self.cpu.write(AT + offset, B4, value));
    }

    pub fn status(&mut self) -> u64 {
        self.read(STATUS)
    }

    pub fn add_status(&mut self, bits: u64) {
        let status = self.status() | bits;
        self.write(STATUS, status);
    }

    pub fn device_features(&mut self) -> u64 {
        self.write(DEVICE_FEATURES_SEL, 1);
        let high = self.read(DEVICE_FEATURES);
        self.write(DEVICE_FEATURES_SEL, 0);
        high << 32 | self.read(DEVICE_FEATURES)
    }

    pub fn accept_features(&mut self, features: u64) {
        for (select, word) in [(1, features >> 32), (0, features & 0xffff_ffff)] {
            self.write(DRIVER_FEATURES_SEL, select);
            self.write(DRIVER_FEATURES, word);
        }
    }

    /// Up to FEATURES_OK; says whether the device agreed.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.write(STATUS, 0);
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        self.accept_features(features);
        self.add_status(FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    pub fn set_queue(&mut self, queue: u16, rings: Rings) {
        self.write(QUEUE_SEL, queue.into());
        assert_eq!(self.read(QUEUE_READY), 0);
        assert_eq!(self.read(QUEUE_NUM_MAX), u64::from(SIZES[usize::from(queue)]));
        self.write(QUEUE_NUM, rings.size.into());
        for (offset, address) in [
            (QUEUE_DESC, rings.descriptors),
            (QUEUE_AVAIL, rings.available),
            (QUEUE_USED, rings.used),
        ] {
            self.write(offset, address & 0xffff_ffff);
            self.write(offset + 4, address >> 32);
        }
        self.write(QUEUE_READY, 1);
    }

    /// What a driver does with each queue as it goes, after the reset.
    pub fn delete_queue(&mut self, queue: u16) {
        self.write(QUEUE_SEL, queue.into());
        self.write(QUEUE_READY, 0);
        assert_eq!(self.read(QUEUE_READY), 0);
    }

    /// The whole initialisation, after which the device runs.
    pub fn start(&mut self) {
        assert!(self.negotiate(VERSION_1 | EVENT_IDX | INDIRECT | FEATURES));
        for queue in 0..SIZES.len() as u16 {
            self.set_queue(queue, rings(queue));
        }
        self.add_status(DRIVER_OK);
    }

    /// As far as DRIVER_OK, with queue 0 set up in this way.
    pub fn start_with(&mut self, rings: Rings) {
        assert!(self.negotiate(VERSION_1));
        self.set_queue(0, rings);
        self.add_status(DRIVER_OK);
    }

    /// What a driver's handler does first: reads why it was called, and takes that back.
    pub fn take_interrupt(&mut self) -> u64 {
        let why = self.read(INTERRUPT_STATUS);
        self.write(INTERRUPT_ACK, why);
        why
    }

    /// Signals of each queue's kick since the last call.
    pub fn signals(&self) -> Option<Vec<u64>> {
        self.device.plugged(|plugged| {
            plugged.queues.iter().map(|queue| queue.kick.read().unwrap_or(0)).collect()
        })
    }

    pub fn pause(&self) {
        Device::stop(&*self.card);
    }

    pub fn resume(&self) {
        Device::start(&*self.card);
    }
}

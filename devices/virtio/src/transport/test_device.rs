//! A virtio device for tests, which checks what it is given, and a driver for it, written after
//! Linux's virtio_pci_modern.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use device_core::GuestRam;
use device_core::bus::{Bus, BusView, Width};
use device_core::device::Device;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use device_core::testing::{TestMachine, TestMsiSet, ram_at};
use pci::bus::PciBus;
use pci::function::PciFunction;
use pci::windows::Windows;
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use super::pci::VirtioCard;
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use Width::{B1, B2, B4, B8};

/// RAM is at 0 and, after a hole, here.
pub const SECOND_RAM: u64 = 0x20_0000;
pub const RAM_LEN: usize = 0x10_0000;
pub const SIZES: [u16; 3] = [256, 256, 64];
/// MAC and, in the upper word, hash report.
pub const FEATURES: u64 = 1 << 5 | 1 << 57;
pub const NO_VECTOR: u64 = 0xffff;

/// Called inside `unplug`, as a device thread that has still something to say.
pub type LastWord = Box<dyn Fn(&Arc<dyn Notice>) + Send + Sync>;

#[derive(Default)]
pub struct TestDevice {
    memory: Option<GuestRam>,
    plugged: Mutex<Option<Plugged>>,
    pub refuses: AtomicBool,
    pub plugs: Mutex<u32>,
    pub resets: Mutex<u32>,
    pub written: Mutex<Vec<(u64, Width, u64)>>,
    pub last_word: Mutex<Option<LastWord>>,
    /// What its state is.
    pub kept: Mutex<u8>,
    /// The features that it was loaded for.
    pub negotiated: Mutex<Option<u64>>,
}

pub struct Plugged {
    pub features: u64,
    pub queues: Vec<LiveQueue>,
    pub notice: Arc<dyn Notice>,
}

impl TestDevice {
    /// A device that expects its rings in this memory.
    pub fn in_memory(memory: GuestRam) -> TestDevice {
        TestDevice { memory: Some(memory), ..TestDevice::default() }
    }

    /// Looks at, or works on, what is plugged.
    pub fn plugged<R>(&self, f: impl FnOnce(&mut Plugged) -> R) -> Option<R> {
        self.plugged.lock().unwrap().as_mut().map(f)
    }

    pub fn is_plugged(&self) -> bool {
        self.plugged.lock().unwrap().is_some()
    }
}

impl VirtioDevice for TestDevice {
    fn id(&self) -> &str {
        "test"
    }
    fn kind(&self) -> u16 {
        1
    }
    fn features(&self) -> u64 {
        // The transport's range is not the device's: this bit must not be offered.
        FEATURES | 1 << 33
    }
    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }
    fn read_config(&self, offset: u64, _: Width) -> u64 {
        offset + 0x10
    }
    fn write_config(&self, offset: u64, width: Width, value: u64) {
        self.written.lock().unwrap().push((offset, width, value));
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        for queue in &queues {
            let (ring, size) = (&queue.ring, queue.ring.size());
            assert!(ring.ready() && size.is_power_of_two());
            assert!(size <= SIZES[usize::from(queue.index)]);
            let n = usize::from(size);
            for (address, align, len) in [
                (ring.desc_table(), 16, 16 * n),
                (ring.avail_ring(), 2, 6 + 2 * n),
                (ring.used_ring(), 4, 6 + 8 * n),
            ] {
                assert_eq!(address % align, 0);
                let memory = self.memory.as_ref().unwrap();
                let at = GuestAddress(address);
                assert!(GuestMemory::check_range(&**memory, at, len, Permissions::ReadWrite));
            }
        }
        if self.refuses.load(Ordering::Relaxed) {
            return Err(PlugError("the test says so".to_owned()));
        }
        *self.plugs.lock().unwrap() += 1;
        let before = self.plugged.lock().unwrap().replace(Plugged { features, queues, notice });
        assert!(before.is_none(), "plugged twice");
        Ok(())
    }

    fn unplug(&self) -> Vec<LiveQueue> {
        let plugged = self.plugged.lock().unwrap().take().expect("unplugged twice");
        if let Some(last_word) = &*self.last_word.lock().unwrap() {
            last_word(&plugged.notice);
        }
        plugged.queues
    }

    fn reset(&self) {
        assert!(!self.is_plugged(), "reset while plugged");
        *self.resets.lock().unwrap() += 1;
    }

    fn save(&self) -> Result<Saved, SaveError> {
        assert!(!self.is_plugged(), "saved while plugged");
        Saved::new("test", 1, &*self.kept.lock().unwrap())
    }

    fn load(&self, features: u64, saved: &Saved) -> Result<(), LoadError> {
        assert!(!self.is_plugged(), "loaded while plugged");
        *self.negotiated.lock().unwrap() = Some(features);
        *self.kept.lock().unwrap() = saved.read("test", 1, |_, state| state)?;
        Ok(())
    }
}

/// What a device has of its queues: features, and of each queue its number, place, size and cursors.
pub type Held = Option<(u64, Vec<(u16, [u64; 3], u16, (u16, u16))>)>;

impl TestDevice {
    /// What it has.
    pub fn held(&self) -> Held {
        self.plugged(|plugged| {
            let queue = |queue: &LiveQueue| {
                let ring = &queue.ring;
                let places = [ring.desc_table(), ring.avail_ring(), ring.used_ring()];
                (queue.index, places, ring.size(), (ring.next_avail(), ring.next_used()))
            };
            (plugged.features, plugged.queues.iter().map(queue).collect())
        })
    }
}

/// Where a capability says that a structure is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Structure {
    pub at: u64,
    pub len: u64,
    /// Offset of the capability in configuration space.
    pub capability: u16,
}

/// A machine with the card in slot 1, and its driver.
pub struct Guest {
    pub machine: TestMachine,
    pub card: Arc<VirtioCard>,
    pub device: Arc<TestDevice>,
    pub bus: Arc<PciBus>,
    pub function: Arc<PciFunction>,
    pub mmio: Arc<Bus>,
    pub cpu: BusView,
    pub common: Structure,
    pub notify: Structure,
    pub isr: Structure,
    pub config: Structure,
    pub window: Structure,
    pub notify_multiplier: u64,
}

/// A queue as a driver sets it up.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

pub fn rings(queue: u16) -> Rings {
    let base = 0x1_0000 * (u64::from(queue) + 1);
    let size = SIZES[usize::from(queue)];
    Rings { size, descriptors: base, available: base + 0x2000, used: base + 0x4000 }
}

const STATUS: u64 = 0x14;
pub const ACKNOWLEDGE: u64 = 1;
pub const DRIVER: u64 = 2;
pub const DRIVER_OK: u64 = 4;
pub const FEATURES_OK: u64 = 8;
pub const NEEDS_RESET: u64 = 0x40;
pub const FAILED: u64 = 0x80;
pub const VERSION_1: u64 = 1 << 32;
pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT: u64 = 1 << 28;

const COMMAND: u16 = 4;
pub const MEMORY_AND_MASTER: u64 = 6;

impl Guest {
    /// A machine whose firmware has run: BARs have addresses. The driver enabled memory and bus
    /// mastering, MSI-X with all vectors open, and knows where the structures are.
    pub fn new() -> Guest {
        let mut guest = Guest::powered(ram_at(&[(0, RAM_LEN), (SECOND_RAM, RAM_LEN)]));
        guest.set_command(MEMORY_AND_MASTER);
        guest.find_structures();
        guest.open_vectors();
        guest
    }

    /// A machine with that memory, which no driver has touched.
    pub fn powered(memory: GuestRam) -> Guest {
        let machine = TestMachine::new(memory.clone());
        let device = Arc::new(TestDevice::in_memory(memory));
        let card = VirtioCard::new(device.clone(), &machine.kit()).unwrap();
        let mmio = Bus::new();
        let windows =
            Windows { low: 0xe000_0000..0xe100_0000, high: 0x40_0000_0000..0x41_0000_0000 };
        let bus = PciBus::new(mmio.clone(), windows).unwrap();
        let slot = bus.attach(card.clone()).unwrap();
        Guest {
            function: bus.function(slot).unwrap(),
            cpu: mmio.view(),
            bus,
            mmio,
            machine,
            card,
            device,
            common: Structure::default(),
            notify: Structure::default(),
            isr: Structure::default(),
            config: Structure::default(),
            window: Structure::default(),
            notify_multiplier: 0,
        }
    }

    /// The state of bus and card, as text; the machine goes on.
    pub fn saved(&self) -> [String; 2] {
        self.pause();
        let saved = [self.bus.to_saved().unwrap(), Device::save(&*self.card).unwrap()];
        self.resume();
        saved.map(|saved| serde_json::to_string(&saved).unwrap())
    }

    /// Another machine with this memory and that state. Fails if it is refused.
    pub fn elsewhere(&self, [bus, card]: &[String; 2]) -> Result<Guest, LoadError> {
        let mut guest = Guest::powered(self.machine.memory.clone());
        guest.pause();
        guest.bus.load_saved(&serde_json::from_str(bus).unwrap())?;
        Device::load(&*guest.card, &serde_json::from_str(card).unwrap())?;
        guest.resume();
        let Guest { common, notify, isr, config, window, notify_multiplier, .. } = *self;
        (guest.common, guest.notify, guest.isr) = (common, notify, isr);
        (guest.config, guest.window) = (config, window);
        guest.notify_multiplier = notify_multiplier;
        Ok(guest)
    }

    pub fn set_command(&self, command: u64) {
        self.function.write_config(COMMAND, B2, command);
    }

    pub fn bar(&self, index: u16) -> u64 {
        let low = self.function.read_config(0x10 + 4 * index, B4);
        let high = if low & 4 != 0 { self.function.read_config(0x14 + 4 * index, B4) } else { 0 };
        high << 32 | low & !0xf
    }

    fn capabilities(&self) -> Vec<u16> {
        let next = |at: u16| self.function.read_config(at, B1) as u16;
        std::iter::successors(Some(next(0x34)), |&at| Some(next(at + 1)))
            .take_while(|&at| at != 0)
            .collect()
    }

    fn find_structures(&mut self) {
        for at in self.capabilities() {
            let byte = |offset| self.function.read_config(at + offset, B1);
            let word = |offset| self.function.read_config(at + offset, B4);
            if byte(0) != 9 {
                continue;
            }
            let bar = self.bar(byte(4) as u16);
            let structure = Structure { at: bar + word(8), len: word(12), capability: at };
            match byte(3) {
                1 => self.common = structure,
                2 => {
                    self.notify = structure;
                    self.notify_multiplier = word(16);
                }
                3 => self.isr = structure,
                4 => self.config = structure,
                5 => self.window = structure,
                kind => panic!("unknown structure {kind}"),
            }
        }
    }

    fn open_vectors(&mut self) {
        let table = self.bar(4);
        for vector in 0..SIZES.len() as u64 + 1 {
            self.cpu.write(table + vector * 16, B8, 0xfee0_0000);
            self.cpu.write(table + vector * 16 + 8, B8, vector);
        }
        let capabilities = self.capabilities();
        let msix = capabilities.iter().find(|&&at| self.function.read_config(at, B1) == 0x11);
        self.function.write_config(msix.unwrap() + 2, B2, 0x8000);
    }

    pub fn read(&mut self, offset: u64, width: Width) -> u64 {
        self.cpu.read(self.common.at + offset, width).unwrap()
    }

    pub fn write(&mut self, offset: u64, width: Width, value: u64) {
        assert!(self.cpu.write(self.common.at + offset, width, value));
    }

    pub fn status(&mut self) -> u64 {
        self.read(STATUS, B1)
    }

    pub fn set_status(&mut self, status: u64) {
        self.write(STATUS, B1, status);
    }

    pub fn add_status(&mut self, bits: u64) {
        let status = self.status() | bits;
        self.set_status(status);
    }

    pub fn device_features(&mut self) -> u64 {
        self.write(0, B4, 0);
        let low = self.read(4, B4);
        self.write(0, B4, 1);
        self.read(4, B4) << 32 | low
    }

    pub fn accept_features(&mut self, features: u64) {
        for (select, word) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
            self.write(8, B4, select);
            self.write(12, B4, word);
        }
    }

    /// Up to FEATURES_OK; says whether the device agreed.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        self.accept_features(features);
        self.add_status(FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    pub fn set_queue(&mut self, queue: u16, rings: Rings) {
        self.write(0x16, B2, queue.into());
        self.write(0x18, B2, rings.size.into());
        for (offset, address) in
            [(0x20, rings.descriptors), (0x28, rings.available), (0x30, rings.used)]
        {
            self.write(offset, B4, address & 0xffff_ffff);
            self.write(offset + 4, B4, address >> 32);
        }
        self.write(0x1a, B2, u64::from(queue) + 1);
        assert_eq!(self.read(0x1a, B2), u64::from(queue) + 1);
        self.write(0x1c, B2, 1);
    }

    /// The whole initialisation, after which the device runs.
    pub fn start(&mut self) {
        assert!(self.negotiate(VERSION_1 | EVENT_IDX | INDIRECT | FEATURES));
        self.write(0x10, B2, 0);
        assert_eq!(self.read(0x10, B2), 0);
        for queue in 0..SIZES.len() as u16 {
            self.set_queue(queue, rings(queue));
        }
        self.add_status(DRIVER_OK);
    }

    /// As far as DRIVER_OK, with queue 0 set up in this way.
    pub fn start_with(&mut self, rings: Rings) {
        assert!(self.negotiate(VERSION_1));
        self.write(0x10, B2, 0);
        self.set_queue(0, rings);
        self.add_status(DRIVER_OK);
    }

    pub fn vectors(&self) -> Arc<TestMsiSet> {
        self.machine.msi.set(0)
    }

    pub fn config_interrupts(&self) -> u64 {
        self.vectors().test_vector(0).delivered()
    }

    pub fn pause(&self) {
        Device::stop(&*self.card);
    }

    pub fn resume(&self) {
        Device::start(&*self.card);
    }
}

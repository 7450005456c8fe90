//! A PCI bus with two virtio cards: any accesses, and a good driver afterwards.

mod step;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use device_core::GuestRam;
use device_core::bus::Width::{self, B1, B2, B4, B8};
use device_core::bus::{Bus, BusDevice, BusView};
use device_core::device::{Device, Kit};
use device_core::interrupt::MsiController;
use device_core::kick::KickBinder;
use device_core::ram_window::RamWindows;
use device_core::reclaim::Reclaim;
use device_core::testing::{TestKicks, TestMsi, TestReclaim, TestWindows, ram_at};
use device_core::worker::Threads;
use pci::bus::{ECAM_SIZE, PORTS, PORTS_LEN, PciBus};
use pci::device::{BarKind, PciDevice};
use pci::function::PciFunction;
use pci::windows::Windows;
use virtio::transport::pci::VirtioCard;

use crate::checker::{Checker, FEATURES, Plugged, SIZES};
use crate::driver::{
    Access, CONFIG_VECTOR, DRIVER_OK, EVENT_IDX, Rings, STATUS, Structures, VERSION_1,
};
use crate::input::Input;

pub use step::Step;

const ECAM: u64 = 0xd000_0000;
const LOW: Range<u64> = 0xe000_0000..0xe100_0000;
const HIGH: Range<u64> = 0x40_0000_0000..0x40_0100_0000;
/// What lies beside the windows, and must stay there: pages that read as this.
const BESIDE: [u64; 4] = [LOW.start - 0x1000, LOW.end, HIGH.start - 0x1000, HIGH.end];
const BESIDE_BYTE: u64 = 0x5a;

const RAM: [(u64, usize); 2] = [(0, 0x10_0000), (0x20_0000, 0x10_0000)];

/// Slots of the two cards, behind the host bridge.
pub const SLOTS: [u8; 2] = [1, 2];

const COMMAND: u16 = 4;
const MEMORY: u64 = 2;
const MASTER: u64 = 4;
const MSIX_BAR: u8 = 4;
const NEEDS_RESET: u64 = 0x40;
const FAILED: u64 = 0x80;

struct Beside;

impl BusDevice for Beside {
    fn read(&self, _: u64, _: Width) -> u64 {
        BESIDE_BYTE
    }
    fn write(&self, _: u64, _: Width, _: u64) {}
}

struct Slot {
    function: Arc<PciFunction>,
    card: Arc<VirtioCard>,
    device: Arc<Checker>,
    structures: Structures,
    stopped: bool,
}

/// Bus and cards, after firmware has run.
pub struct Machine {
    pci: Arc<PciBus>,
    mmio: Arc<Bus>,
    memory_bus: BusView,
    port_bus: BusView,
    kicks: Arc<TestKicks>,
    msi: Arc<TestMsi>,
    slots: Vec<Slot>,
    /// What has been done, if anyone wants to know.
    pub record: Option<Vec<Step>>,
}

fn ram() -> GuestRam {
    static RAM_ONCE: OnceLock<GuestRam> = OnceLock::new();
    RAM_ONCE.get_or_init(|| ram_at(&RAM)).clone()
}

impl Machine {
    pub fn new() -> Machine {
        let memory = ram();
        let (msi, kicks) = (Arc::new(TestMsi::default()), Arc::new(TestKicks::default()));
        let controller: Arc<dyn MsiController> = msi.clone();
        let binder: Arc<dyn KickBinder> = kicks.clone();
        let threads = Threads::by_hand().expect("an epoll");
        let windows: Arc<dyn RamWindows> = Arc::new(TestWindows::default());
        let reclaim: Arc<dyn Reclaim> = Arc::new(TestReclaim::new(&memory, 4096));
        let kit = Kit {
            memory: &memory,
            msi: &controller,
            kicks: &binder,
            threads: &threads,
            windows: &windows,
            reclaim: &reclaim,
            hot: None,
            files: &device_core::files::Own,
            slot: None,
        };
        let (mmio, ports) = (Bus::new(), Bus::new());
        let pci = PciBus::new(mmio.clone(), Windows { low: LOW, high: HIGH }).expect("a bridge");
        ports.insert(PORTS, PORTS_LEN, pci.ports(Arc::new(Beside))).expect("the ports are free");
        mmio.insert(ECAM, ECAM_SIZE, pci.ecam()).expect("the place is free");
        for at in BESIDE {
            mmio.insert(at, 0x1000, Arc::new(Beside)).expect("the place is free");
        }
        let slots = SLOTS.map(|slot| {
            let device = Arc::new(Checker::new(0xa0 | slot, memory.clone()));
            let card = VirtioCard::new(device.clone(), &kit).expect("a card");
            assert_eq!(pci.attach(card.clone()), Ok(slot));
            let function = pci.function(slot).expect("just attached");
            Slot { function, card, device, structures: Structures::default(), stopped: false }
        });
        let mut machine = Machine {
            pci,
            memory_bus: mmio.view(),
            mmio,
            port_bus: ports.view(),
            kicks,
            msi,
            slots: slots.into(),
            record: None,
        };
        for (at, slot) in SLOTS.into_iter().enumerate() {
            machine.slots[at].structures = Structures::find(&mut machine.cpu(slot));
        }
        machine
    }

    /// Does a step; returns what was read.
    pub fn apply(&mut self, step: Step) -> u64 {
        if let Some(record) = &mut self.record {
            record.push(step);
        }
        let ecam = |slot, register| ECAM + (u64::from(slot) << 15) + u64::from(register);
        match step {
            Step::ReadConfig { slot, register, width } => self.load(ecam(slot, register), width),
            Step::WriteConfig { slot, register, width, value } => {
                self.store(ecam(slot, register), width, value)
            }
            Step::ReadPort { offset, width } => {
                self.port_bus.read(PORTS + u64::from(offset), width).unwrap_or(width.mask())
            }
            Step::WritePort { offset, width, value } => {
                self.port_bus.write(PORTS + u64::from(offset), width, value);
                0
            }
            Step::ReadBar { slot, bar, offset, width } => {
                self.load(self.bar(slot, bar).wrapping_add(offset.into()), width)
            }
            Step::WriteBar { slot, bar, offset, width, value } => {
                self.store(self.bar(slot, bar).wrapping_add(offset.into()), width, value)
            }
            Step::ReadMemory { address, width } => self.load(address, width),
            Step::WriteMemory { address, width, value } => self.store(address, width, value),
            Step::Event { slot, event } => {
                self.happen(slot, event);
                0
            }
        }
    }

    fn load(&mut self, address: u64, width: Width) -> u64 {
        self.memory_bus.read(address, width).unwrap_or(width.mask())
    }

    fn store(&mut self, address: u64, width: Width, value: u64) -> u64 {
        self.memory_bus.write(address, width, value);
        0
    }

    /// Address of a BAR as its registers say.
    fn bar(&self, slot: u8, bar: u8) -> u64 {
        let Some(function) = self.pci.function(slot) else { return 0 };
        let word = |bar: u8| function.read_config(0x10 + 4 * u16::from(bar), B4);
        let low = word(bar);
        if low & 4 != 0 { word(bar + 1) << 32 | low & !0xf } else { low & !0xf }
    }

    /// What cards and their owner do.
    fn happen(&mut self, slot: u8, event: u8) {
        let pci = self.pci.clone();
        let Some(at) = SLOTS.iter().position(|known| *known == slot) else { return };
        let slot = &mut self.slots[at];
        let device = slot.device.clone();
        match event {
            0 => drop(device.plugged(|plugged| plugged.notice.config_changed())),
            1 => drop(device.plugged(|plugged| plugged.notice.needs_reset())),
            2 => drop(device.plugged(|plugged| {
                plugged
                    .queues
                    .iter()
                    .filter_map(|queue| queue.irq.clone())
                    .for_each(|irq| irq.fire())
            })),
            3 => drop(device.refuses.fetch_xor(true, Ordering::Relaxed)),
            4 if slot.stopped => {
                slot.stopped = false;
                slot.card.start();
            }
            4 => {
                slot.stopped = true;
                slot.card.stop();
            }
            5 => pci.reset(),
            _ => {}
        }
    }

    pub fn cpu(&mut self, slot: u8) -> Cpu<'_> {
        Cpu { machine: self, slot }
    }

    /// What must hold after any step.
    fn check(&mut self) {
        let mut claims = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let command = slot.function.read_config(COMMAND, B2);
            for bar in slot.function.bars().iter().filter(|_| command & MEMORY != 0) {
                let start = self.bar(SLOTS[at], bar.index);
                let end = start.saturating_add(bar.size);
                let held = |window: Range<u64>| window.start <= start && end <= window.end;
                if held(LOW) || held(HIGH) {
                    claims.push((start..end, at, bar.index));
                }
            }
        }
        for kick in self.kicks.bound() {
            let claimed =
                |(range, _, bar): &(Range<u64>, _, u8)| *bar == 0 && range.contains(&kick);
            assert!(claims.iter().any(claimed), "a kick at {kick:#x}, where no card is");
        }
        for at in 0..self.slots.len() {
            self.check_place(at, &claims);
            self.slots[at].check_queues();
        }
    }

    /// Who answers where a card should be is this card, or one that wants the same place.
    fn check_place(&mut self, at: usize, claims: &[(Range<u64>, usize, u8)]) {
        let probe = self.bar(SLOTS[at], 0).wrapping_add(self.slots[at].structures.config);
        let in_ecam = (ECAM..ECAM + ECAM_SIZE).contains(&probe);
        if in_ecam || BESIDE.iter().any(|page| (*page..page + 0x1000).contains(&probe)) {
            return;
        }
        let owners: Vec<_> = claims.iter().filter(|(range, ..)| range.contains(&probe)).collect();
        match self.memory_bus.read(probe, B1) {
            None => {}
            Some(_) if owners.iter().any(|(_, owner, bar)| (*owner, *bar) != (at, 0)) => {}
            Some(byte) => {
                assert!(!owners.is_empty(), "something at {probe:#x}, where no card may be");
                assert_eq!(byte, u64::from(self.slots[at].device.pattern), "another card");
            }
        }
    }

    /// From whatever it was brought into, a reset and a good driver bring each card back.
    fn check_recovery(&mut self, way: usize) {
        for at in BESIDE {
            assert_eq!(self.load(at, B1), BESIDE_BYTE, "what was at {at:#x} is gone");
        }
        for (at, slot) in SLOTS.into_iter().enumerate() {
            if self.slots[at].stopped {
                self.happen(slot, 4);
            }
            self.slots[at].device.refuses.store(false, Ordering::Relaxed);
        }
        match way % 3 {
            0 => SLOTS.iter().for_each(|slot| self.cpu(*slot).reset_function()),
            1 => self.pci.reset(),
            _ => {} // what drivers do anyway is enough
        }
        if way % 3 != 1 {
            SLOTS.iter().for_each(|slot| self.cpu(*slot).write_config(COMMAND, B2, 0));
            SLOTS.iter().for_each(|slot| self.cpu(*slot).place_bars());
        }
        for (at, slot) in SLOTS.into_iter().enumerate() {
            self.cpu(slot).start();
            self.check();
            self.slots[at].check_started();
            self.check_interrupts(at);
            self.check_kicks(at);
        }
    }

    fn check_interrupts(&self, at: usize) {
        // Vector 0 is for the configuration, queue i has vector i + 1.
        let vector = self.msi.set(at).test_vector(2);
        let before = vector.delivered();
        let fire = |plugged: &Plugged| plugged.queues[1].irq.as_ref().expect("a vector").fire();
        self.slots[at].device.plugged(fire).expect("a card that runs");
        assert_eq!(vector.delivered(), before + 1, "an interrupt was lost");
    }

    fn check_kicks(&self, at: usize) {
        let structures = self.slots[at].structures;
        let address = self.bar(SLOTS[at], 0) + structures.notify + structures.notify_step;
        let heard = |plugged: &Plugged| plugged.queues[1].kick.read().is_ok();
        self.slots[at].device.plugged(heard);
        assert!(self.kicks.kick(address), "nothing is bound to {address:#x}");
        assert_eq!(self.slots[at].device.plugged(heard), Some(true), "a kick was lost");
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Bus and ECAM hold each other, which is no leak in a process that makes one machine.
        self.mmio.remove(ECAM);
    }
}

impl Slot {
    fn status(&self) -> u64 {
        self.card.read(0, self.structures.common + STATUS, B1)
    }

    /// The device has queues when the driver said so, DMA is allowed and nothing is wrong.
    fn check_queues(&self) {
        let (status, master) = (self.status(), self.function.read_config(COMMAND, B2) & MASTER);
        let may_run = status & DRIVER_OK != 0 && master != 0 && !self.stopped;
        let is_plugged = self.device.plugged(|_| ()).is_some();
        if is_plugged {
            assert!(may_run && status & FAILED == 0, "queues with status {status:#x}");
        } else {
            let trouble = status & (FAILED | NEEDS_RESET) != 0;
            assert!(!may_run || trouble, "no queues with status {status:#x}");
        }
    }

    fn check_started(&self) {
        let status = self.status();
        assert_eq!(status & (DRIVER_OK | NEEDS_RESET | FAILED), DRIVER_OK, "status {status:#x}");
        let (features, queues) = self
            .device
            .plugged(|plugged| (plugged.features, plugged.queues.len()))
            .expect("a card that was started has its queues");
        assert_eq!(features, VERSION_1 | EVENT_IDX | FEATURES);
        assert_eq!(queues, SIZES.len());
    }
}

/// A CPU that runs the driver of one card.
pub struct Cpu<'a> {
    machine: &'a mut Machine,
    slot: u8,
}

impl Access for Cpu<'_> {
    fn read_bar(&mut self, offset: u64, width: Width) -> u64 {
        let (slot, offset) = (self.slot, offset as u16);
        self.machine.apply(Step::ReadBar { slot, bar: 0, offset, width })
    }
    fn write_bar(&mut self, offset: u64, width: Width, value: u64) {
        let (slot, offset) = (self.slot, offset as u16);
        self.machine.apply(Step::WriteBar { slot, bar: 0, offset, width, value });
    }
    fn read_config(&mut self, register: u16, width: Width) -> u64 {
        self.machine.apply(Step::ReadConfig { slot: self.slot, register, width })
    }
}

impl Cpu<'_> {
    pub fn write_config(&mut self, register: u16, width: Width, value: u64) {
        self.machine.apply(Step::WriteConfig { slot: self.slot, register, width, value });
    }

    fn capability(&mut self, id: u64) -> u16 {
        let mut at = self.read_config(0x34, B1) as u16;
        while at != 0 && self.read_config(at, B1) != id {
            at = self.read_config(at + 1, B1) as u16;
        }
        at
    }

    /// A function level reset.
    pub fn reset_function(&mut self) {
        let control = self.capability(0x10) + 8;
        self.write_config(control, B2, 1 << 15);
    }

    /// Learns the size of a BAR as systems do, and leaves it all ones.
    pub fn size_bar(&mut self, bar: u8) -> u64 {
        let register = 0x10 + 4 * u16::from(bar);
        self.write_config(register, B4, 0xffff_ffff);
        self.read_config(register, B4)
    }

    /// Gives both BARs of this card addresses that no other card has.
    pub fn place_bars(&mut self) {
        let function = self.machine.pci.function(self.slot).expect("a card");
        for (nth, bar) in (0u64..).zip(function.bars()) {
            let register = 0x10 + 4 * u16::from(bar.index);
            let within = u64::from(self.slot) << 20 | nth << 16;
            let address = match bar.kind {
                BarKind::Memory32 => LOW.start + within,
                BarKind::Memory64 { .. } => HIGH.start + within,
            };
            self.write_config(register, B4, address & 0xffff_ffff);
            if address > u32::MAX.into() {
                self.write_config(register + 4, B4, address >> 32);
            }
        }
    }

    /// The whole initialisation of a card whose BARs have addresses.
    pub fn start(&mut self) {
        self.write_config(COMMAND, B2, MEMORY | MASTER);
        let structures = Structures::find(self);
        for vector in 0..SIZES.len() as u16 + 1 {
            for (offset, width, value) in
                [(0, B8, 0xfee0_0000), (8, B4, vector.into()), (12, B4, 0)]
            {
                let (slot, offset) = (self.slot, vector * 16 + offset);
                self.machine.apply(Step::WriteBar { slot, bar: MSIX_BAR, offset, width, value });
            }
        }
        self.write_config(structures.msix + 2, B2, 1 << 15);
        assert!(structures.negotiate(self, VERSION_1 | EVENT_IDX | FEATURES), "features refused");
        self.write_bar(structures.common + CONFIG_VECTOR, B2, 0);
        for (queue, size) in (0u16..).zip(SIZES) {
            let base = 0x1_0000 * (u64::from(queue) + 1);
            let rings =
                Rings { size, descriptors: base, available: base + 0x2000, used: base + 0x4000 };
            structures.set_queue(self, queue, queue + 1, rings);
        }
        structures.run(self);
    }
}

pub fn run(bytes: &[u8]) {
    let mut machine = Machine::new();
    let mut input = Input(bytes);
    while let Some(step) = Step::read(&mut input) {
        machine.apply(step);
        let reads = matches!(
            step,
            Step::ReadConfig { .. }
                | Step::ReadPort { .. }
                | Step::ReadBar { .. }
                | Step::ReadMemory { .. }
        );
        if !reads {
            machine.check();
        }
    }
    machine.check_recovery(bytes.len());
}

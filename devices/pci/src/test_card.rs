//! A card for tests: two BARs, three vectors, a capability; it remembers what it heard.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use device_core::bus::{Bus, BusDevice, BusView, Width};
use device_core::device::Device;
use device_core::interrupt::MsiSet;
use device_core::snapshot::{LoadError, SaveError, Saved};
use device_core::testing::TestMsiSet;

use crate::device::{BarKind, BarSpec, Capability, Identity, PciDevice};
use crate::windows::Windows;

pub const LOW: Range<u64> = 0xe000_0000..0xe100_0000;
pub const HIGH: Range<u64> = 0x40_0000_0000..0x40_1000_0000;
pub const VECTORS: u16 = 3;
pub const MSIX_BAR: u8 = 4;

pub fn windows() -> Windows {
    Windows { low: LOW, high: HIGH }
}

/// What a card heard, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Mapped(u8, Option<u64>),
    BusMaster(bool),
    MsixEnabled(bool),
    Reset,
    CapabilityWritten(usize, u8, Vec<u8>),
}

pub struct TestCard {
    id: String,
    pub identity: Identity,
    pub bars: Vec<BarSpec>,
    pub capabilities: Vec<Capability>,
    pub set: Arc<TestMsiSet>,
    msi: Arc<dyn MsiSet>,
    heard: Mutex<Vec<Heard>>,
    registers: Mutex<BTreeMap<(u8, u64), u64>>,
    /// What reads of the capability return, if not its bytes.
    pub capability_answer: Mutex<Option<u64>>,
}

impl TestCard {
    pub fn new(id: &str) -> TestCard {
        TestCard::with_vectors(id, VECTORS)
    }

    pub fn with_vectors(id: &str, vectors: u16) -> TestCard {
        let set = TestMsiSet::new(vectors);
        let memory64 = BarKind::Memory64 { prefetchable: true };
        TestCard {
            id: id.to_owned(),
            identity: Identity {
                vendor: 0x1d0f,
                device: 0xec20,
                subsystem_vendor: 0x1111,
                subsystem: 0x2222,
                class: 0x02_00_00,
                revision: 7,
            },
            bars: vec![
                BarSpec { index: 0, kind: BarKind::Memory32, size: 0x4000 },
                BarSpec { index: 2, kind: memory64, size: 0x10_0000 },
            ],
            capabilities: vec![Capability {
                id: 0x09,
                body: vec![0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
                writable: vec![false, false, true, true],
            }],
            msi: set.clone(),
            set,
            heard: Mutex::default(),
            registers: Mutex::default(),
            capability_answer: Mutex::default(),
        }
    }

    /// All that was heard since the last call.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().unwrap().push(heard);
    }
}

impl Device for TestCard {
    fn id(&self) -> &str {
        &self.id
    }
    fn start(&self) {}
    fn stop(&self) {}
    fn reset(&self) {
        self.hear(Heard::Reset);
    }
    fn save(&self) -> Result<Saved, SaveError> {
        Saved::new("test-card", 1, &())
    }
    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        saved.read("test-card", 1, |_, state| state)
    }
}

impl PciDevice for TestCard {
    fn identity(&self) -> Identity {
        self.identity
    }
    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }
    fn capabilities(&self) -> Vec<Capability> {
        self.capabilities.clone()
    }
    fn msix(&self) -> Option<&Arc<dyn MsiSet>> {
        Some(&self.msi)
    }
    fn msix_bar(&self) -> u8 {
        MSIX_BAR
    }
    fn read(&self, bar: u8, offset: u64, _width: Width) -> u64 {
        self.registers.lock().unwrap().get(&(bar, offset)).copied().unwrap_or(0)
    }
    fn write(&self, bar: u8, offset: u64, _width: Width, value: u64) {
        self.registers.lock().unwrap().insert((bar, offset), value);
    }
    fn mapped(&self, bar: u8, at: Option<u64>) {
        self.hear(Heard::Mapped(bar, at));
    }
    fn bus_master(&self, on: bool) {
        self.hear(Heard::BusMaster(on));
    }
    fn msix_enabled(&self, on: bool) {
        self.hear(Heard::MsixEnabled(on));
    }
    fn capability_read(&self, _: usize, _: u8, _: Width, _: &[u8]) -> Option<u64> {
        *self.capability_answer.lock().unwrap()
    }
    fn capability_written(&self, index: usize, offset: u8, _: Width, body: &[u8]) {
        self.hear(Heard::CapabilityWritten(index, offset, body.to_vec()));
    }
}

/// Something that is no card, at an address.
pub struct Elsewhere;

impl BusDevice for Elsewhere {
    fn read(&self, _: u64, _: Width) -> u64 {
        0x5a
    }
    fn write(&self, _: u64, _: Width, _: u64) {}
}

/// An MMIO bus and a CPU's view of it.
pub fn mmio() -> (Arc<Bus>, BusView) {
    let bus = Bus::new();
    let view = bus.view();
    (bus, view)
}

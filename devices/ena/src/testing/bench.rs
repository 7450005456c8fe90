//! A test bench: a card in a slot, with memory, interrupts and the other end of its cable.

use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::bus::{Bus, BusView, Width};
use device_core::testing::{TestMachine, TestMsiSet, ram};
use device_core::worker::Threads;
use net::backend::script::{Stage, stage};
use net::backend::{Limits, NetBackend, NetQueue};
use net::frame::Offloads;
use net::mac::MacAddr;
use net::port::NetPort;
use net::spec::{Model, NicSpec};
use pci::function::PciFunction;
use pci::windows::Windows;
use vm_memory::{Bytes, GuestAddress};

use crate::Ena;
use crate::registers;

/// The card's address.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The card's largest MTU, in bytes.
pub const MAX_MTU: u16 = 9216;
/// Bytes of RAM, from 0 on.
pub const MEMORY: usize = 0x200_0000;
/// What a driver allocates begins here.
const HEAP: u64 = 0x1_0000;
/// Where firmware puts the BARs.
pub(crate) const BAR0: u64 = 0xe000_0000;
const BAR1: u64 = 0xe010_0000;
const BAR2: u64 = 0xe100_0000;
const COMMAND: u16 = 4;
const MEMORY_SPACE: u64 = 1 << 1;
const BUS_MASTER: u64 = 1 << 2;
const MSIX_ENABLE: u64 = 1 << 15;

/// What the backend can do: everything.
pub const ABLE: Limits = Limits { tx: Offloads::all(), rx: Offloads::all(), mtu: Some(1500) };

/// What a user says of a card of one queue pair.
pub fn spec() -> NicSpec {
    let (mac, mtu) = (Some(MAC), Some(MAX_MTU));
    NicSpec { model: Model::Ena, mac, mtu, ..NicSpec::on_tap("test", "none") }
}

/// A card in its slot.
pub struct Bench {
    /// What the card was built with.
    pub machine: TestMachine,
    /// The guest's RAM, [`MEMORY`] bytes.
    pub memory: GuestRam,
    /// The card.
    pub card: Arc<Ena>,
    /// The PCI function around it.
    pub function: Arc<PciFunction>,
    /// The card's vectors.
    pub vectors: Arc<TestMsiSet>,
    /// The other end of the cable, one for each lane.
    pub stages: Vec<Stage>,
    mmio: BusView,
    free: u64,
}

impl Bench {
    /// A card of `pairs` queue pairs; its BARs are where firmware put them, nothing is enabled.
    pub fn new(pairs: u16) -> Bench {
        Bench::with(pairs, ABLE)
    }

    /// The same with a backend of these limits.
    pub fn with(pairs: u16, limits: Limits) -> Bench {
        Bench::of(&NicSpec { queues: pairs, ..spec() }, limits)
    }

    /// A card as `spec` says.
    pub fn of(spec: &NicSpec, limits: Limits) -> Bench {
        let (backend, queues, stages) = stage(spec.queues, limits).unwrap();
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
        Bench::plugged(spec, Box::new(backend), queues.collect(), stages)
    }

    /// A card on a backend of the caller's.
    pub fn plugged(
        spec: &NicSpec,
        backend: Box<dyn NetBackend>,
        queues: Vec<Box<dyn NetQueue>>,
        stages: Vec<Stage>,
    ) -> Bench {
        Bench::on_threads(Threads::by_hand().unwrap(), spec, backend, queues, stages)
    }

    /// The same with other threads than none.
    pub fn on_threads(
        threads: Threads,
        spec: &NicSpec,
        backend: Box<dyn NetBackend>,
        queues: Vec<Box<dyn NetQueue>>,
        stages: Vec<Stage>,
    ) -> Bench {
        let mut machine = TestMachine::new(ram(MEMORY));
        machine.threads = threads;
        let port = NetPort::with_backend("test", backend, queues, &machine.kit());
        let card = Ena::on_port(spec, port.unwrap(), &machine.kit()).unwrap();
        let bus = Bus::new();
        let windows = Windows { low: 0xe000_0000..0xf000_0000, high: 0..0 };
        let function = PciFunction::new(card.clone(), bus.clone(), windows).unwrap();
        let bench = Bench {
            memory: machine.memory.clone(),
            vectors: machine.msi.set(0),
            machine,
            card,
            function: Arc::new(function),
            stages,
            mmio: bus.view(),
            free: HEAP,
        };
        bench.assign();
        bench
    }

    /// What firmware does.
    fn assign(&self) {
        for (bar, address) in
            [(registers::REGISTERS, BAR0), (registers::MSIX, BAR1), (registers::LLQ, BAR2)]
        {
            self.function.assign(bar, address);
        }
    }

    /// BARs where firmware put them, all enabled: for a card that anything was done to.
    pub fn restore(&mut self) {
        self.assign();
        self.enable();
    }

    /// What was allocated is free again, and as new.
    pub fn forget_allocations(&mut self) {
        self.free = HEAP;
        self.store(0, &vec![0; 0x10_0000]);
    }

    /// Enables memory decoding and bus mastering, and all MSI-X vectors, each to an address of its
    /// own.
    pub fn enable(&mut self) {
        self.set_bus_master(true);
        for vector in 0..self.vector_count() {
            self.route(vector);
        }
        let msix = self.capability(0x11).unwrap();
        self.function.write_config(msix + 2, Width::B2, MSIX_ENABLE);
    }

    /// How many MSI-X vectors the card has.
    pub fn vector_count(&self) -> u16 {
        use device_core::interrupt::MsiSet;
        self.vectors.count()
    }

    /// Fills a table entry and unmasks it.
    pub fn route(&mut self, vector: u16) {
        let entry = BAR1 + u64::from(vector) * 16;
        for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, u64::from(vector)), (12, 0)] {
            self.mmio.write(entry + at, Width::B4, value);
        }
    }

    /// Masks a table entry.
    pub fn mask_vector(&mut self, vector: u16, masked: bool) {
        let entry = BAR1 + u64::from(vector) * 16;
        self.mmio.write(entry + 12, Width::B4, masked.into());
    }

    /// The pending bits of the first 64 vectors.
    pub fn pending(&mut self) -> u64 {
        self.mmio.read(BAR1 + 0x1000, Width::B8).unwrap()
    }

    /// Switches bus mastering; memory decoding is on in any case.
    pub fn set_bus_master(&self, on: bool) {
        let master = if on { BUS_MASTER } else { 0 };
        self.function.write_config(COMMAND, Width::B2, MEMORY_SPACE | master);
    }

    /// Where the capability `id` is.
    pub fn capability(&self, id: u64) -> Option<u16> {
        let mut at = self.function.read_config(0x34, Width::B1);
        while at != 0 {
            if self.function.read_config(at as u16, Width::B1) == id {
                return Some(at as u16);
            }
            at = self.function.read_config(at as u16 + 1, Width::B1);
        }
        None
    }

    /// A function level reset.
    pub fn function_reset(&self) {
        let express = self.capability(0x10).unwrap();
        let control = self.function.read_config(express + 8, Width::B2);
        self.function.write_config(express + 8, Width::B2, control | 1 << 15);
    }

    /// Interrupts of a vector that reached the guest.
    pub fn interrupts(&self, vector: u16) -> u64 {
        self.vectors.test_vector(vector).delivered()
    }

    /// A guest's access to BAR 0.
    pub fn peek(&mut self, offset: u64, width: Width) -> u64 {
        self.mmio.read(BAR0 + offset, width).unwrap_or(width.mask())
    }

    /// A guest's write to BAR 0.
    pub fn poke(&mut self, offset: u64, width: Width, value: u64) {
        self.mmio.write(BAR0 + offset, width, value);
    }

    /// A guest's write to BAR 2.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) {
        for (at, chunk) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mmio.write(BAR2 + at, Width::B8, u64::from_le_bytes(word));
        }
    }

    /// A register read without the readless protocol.
    pub fn read(&mut self, offset: u64) -> u32 {
        self.peek(offset, Width::B4) as u32
    }

    /// A register write, 4 bytes.
    pub fn write(&mut self, offset: u64, value: u32) {
        self.poke(offset, Width::B4, value.into());
    }

    /// Zeroed memory of the guest, not used before, aligned to a page.
    pub fn allocate(&mut self, len: u64) -> u64 {
        let at = self.free;
        self.free += len.next_multiple_of(0x1000);
        assert!(self.free <= MEMORY as u64, "the test uses too much memory");
        at
    }

    /// Writes `bytes` to guest memory at `at`.
    pub fn store(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Reads `len` bytes of guest memory at `at`.
    pub fn load(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Reads `N` little-endian words of guest memory at `at`.
    pub fn load_words<const N: usize>(&self, at: u64) -> [u32; N] {
        let bytes = self.load(at, N * 4);
        std::array::from_fn(|n| u32::from_le_bytes(bytes[n * 4..][..4].try_into().unwrap()))
    }

    /// Writes little-endian words to guest memory at `at`.
    pub fn store_words(&self, at: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.store(at, &bytes);
    }

    /// Returns after all that is ready now has been done.
    pub fn settle(&self) {
        self.card.settle();
    }

    /// Lets the card's attendant believe that it is `now`.
    pub fn tick(&self, now: Instant) {
        self.card.tick(now);
    }
}

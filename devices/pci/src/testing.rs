//! A card in its slot as firmware leaves it, with memory, interrupts, and a guest's ways to them: what test benches
//! of cards stand on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use std::sync::Arc;

use device_core::GuestRam;
use device_core::bus::{Bus, BusView, Width};
use device_core::interrupt::MsiSet;
use device_core::snapshot::Snapshot;
use device_core::testing::{TestMachine, TestMsiSet};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::device::PciDevice;
use crate::function::PciFunction;
use crate::windows::Windows;

/// What a driver allocates begins here.
const HEAP: u64 = 0x1_0000;
const COMMAND: u16 = 4;
const MEMORY_SPACE: u64 = 1 << 1;
const BUS_MASTER: u64 = 1 << 2;
const MSIX_ENABLE: u64 = 1 << 15;
/// Of a capability: MSI-X, and PCI Express.
const MSIX: u64 = 0x11;
const EXPRESS: u64 = 0x10;
const FUNCTION_RESET: u64 = 1 << 15;
/// Of the BAR with the vectors: where the pending bits are, and bytes of a vector.
const PENDING: u64 = 0x1000;
const ENTRY: u64 = 16;

/// Where firmware puts the BARs of a card.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Each by its number; the first one is that of the registers. All are in `0xe000_0000..0xf000_0000`.
    pub bars: &'static [(u8, u64)],
    /// The BAR with the vectors.
    pub msix: u64,
}

/// A card in its slot. Panics wherever the guest's side of it is used wrong.
pub struct Slot {
    /// What the card was built with.
    pub machine: TestMachine,
    /// The guest's RAM, from 0 on.
    pub memory: GuestRam,
    /// The PCI function around the card.
    pub function: Arc<PciFunction>,
    /// The card's vectors.
    pub vectors: Arc<TestMsiSet>,
    places: Places,
    mmio: BusView,
    free: u64,
}

impl Slot {
    /// The slot of `card`, which was built with `machine` and is its first; nothing is enabled.
    pub fn new(machine: TestMachine, card: Arc<dyn PciDevice>, places: Places) -> Slot {
        let bus = Bus::new();
        let windows = Windows { low: 0xe000_0000..0xf000_0000, high: 0..0 };
        let function = PciFunction::new(card, bus.clone(), windows).unwrap();
        let slot = Slot {
            memory: machine.memory.clone(),
            vectors: machine.msi.set(0),
            machine,
            function: Arc::new(function),
            places,
            mmio: bus.view(),
            free: HEAP,
        };
        slot.assign();
        slot
    }

    /// What firmware does.
    fn assign(&self) {
        for (bar, address) in self.places.bars {
            self.function.assign(*bar, *address);
        }
    }

    /// Goes on where `old` is, whose card rests; this one's is fresh and rests, too.
    pub fn take_over(&mut self, old: &Slot) {
        let saved = old.function.to_saved().unwrap();
        self.function.load_saved(&saved).unwrap();
        assert_eq!(self.function.to_saved().unwrap(), saved);
        self.free = old.free;
    }

    /// BARs where firmware put them, all enabled: for a card that anything was done to.
    pub fn restore(&mut self) {
        self.assign();
        self.enable();
    }

    /// Enables memory decoding and bus mastering, and all MSI-X vectors, each to an address of its own.
    pub fn enable(&mut self) {
        self.set_bus_master(true);
        for vector in 0..self.vector_count() {
            self.route(vector);
        }
        let msix = self.capability(MSIX).unwrap();
        self.function.write_config(msix + 2, Width::B2, MSIX_ENABLE);
    }

    /// How many MSI-X vectors the card has.
    pub fn vector_count(&self) -> u16 {
        self.vectors.count()
    }

    fn vector_at(&self, vector: u16) -> u64 {
        self.places.msix + u64::from(vector) * ENTRY
    }

    /// Fills a table entry and unmasks it.
    pub fn route(&mut self, vector: u16) {
        let entry = self.vector_at(vector);
        for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, u64::from(vector)), (12, 0)] {
            self.write_at(entry + at, Width::B4, value);
        }
    }

    /// Masks a table entry.
    pub fn mask_vector(&mut self, vector: u16, masked: bool) {
        self.write_at(self.vector_at(vector) + 12, Width::B4, masked.into());
    }

    /// The pending bits of the first 64 vectors.
    pub fn pending(&mut self) -> u64 {
        self.mmio.read(self.places.msix + PENDING, Width::B8).unwrap()
    }

    /// Interrupts of a vector that reached the guest.
    pub fn interrupts(&self, vector: u16) -> u64 {
        self.vectors.test_vector(vector).delivered()
    }

    /// The same of each vector, in their order.
    pub fn all_interrupts(&self) -> Vec<u64> {
        (0..self.vector_count()).map(|vector| self.interrupts(vector)).collect()
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
        let express = self.capability(EXPRESS).unwrap();
        let control = self.function.read_config(express + 8, Width::B2);
        self.function.write_config(express + 8, Width::B2, control | FUNCTION_RESET);
    }

    /// A guest's write to address space, as the machine does it: where the kernel is told of it, it goes no further.
    pub fn write_at(&mut self, address: u64, width: Width, value: u64) {
        if !self.machine.kicks.kick(address) {
            self.mmio.write(address, width, value);
        }
    }

    /// A guest's read from the registers' BAR.
    pub fn peek(&mut self, offset: u64, width: Width) -> u64 {
        self.mmio.read(self.registers() + offset, width).unwrap_or(width.mask())
    }

    /// A guest's write there.
    pub fn poke(&mut self, offset: u64, width: Width, value: u64) {
        self.write_at(self.registers() + offset, width, value);
    }

    fn registers(&self) -> u64 {
        self.places.bars[0].1
    }

    /// Reads a register of 4 bytes.
    pub fn read(&mut self, offset: u64) -> u32 {
        self.peek(offset, Width::B4) as u32
    }

    /// Writes a register of 4 bytes.
    pub fn write(&mut self, offset: u64, value: u32) {
        self.poke(offset, Width::B4, value.into());
    }

    /// Zeroed memory of the guest, not used before, aligned to a page.
    pub fn allocate(&mut self, len: u64) -> u64 {
        let at = self.free;
        self.free += len.next_multiple_of(0x1000);
        assert!(self.free <= self.memory.last_addr().0, "the test uses too much memory");
        at
    }

    /// What was allocated is free again, and as new.
    pub fn forget_allocations(&mut self) {
        self.free = HEAP;
        self.store(0, &vec![0; 0x10_0000]);
    }

    /// What was allocated behind the page at `last` is free again.
    pub fn forget_allocations_after(&mut self, last: u64) {
        self.free = last + 0x1000;
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
}

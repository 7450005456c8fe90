//! A test bench: a controller in a slot, with memory, interrupts and a disk.

use std::sync::Arc;

use block::spec::{DiskSpec, Model};
use device_core::GuestRam;
use device_core::bus::{Bus, BusView, Width};
use device_core::testing::{TestMachine, TestMsiSet, ram_at};
use device_core::worker::Threads;
use pci::function::PciFunction;
use pci::windows::Windows;
use vm_memory::{Bytes, GuestAddress};

use super::disk::Disk;
use crate::Nvme;
use crate::registers;

/// Bytes of RAM, from 0 on.
pub const MEMORY: u64 = 0x100_0000;
/// Bytes of the disk.
pub const DISK: u64 = 8 << 20;
/// What a driver allocates begins here.
const HEAP: u64 = 0x1_0000;
/// Where firmware puts the BARs.
pub(crate) const BAR0: u64 = 0xe000_0000;
const BAR4: u64 = 0xe010_0000;
const COMMAND: u16 = 4;
const MEMORY_SPACE: u64 = 1 << 1;
const BUS_MASTER: u64 = 1 << 2;
const MSIX_ENABLE: u64 = 1 << 15;

/// What a user says of a disk.
pub fn spec() -> DiskSpec {
    DiskSpec { model: Model::Nvme, ..DiskSpec::on("data", "image") }
}

/// A controller in its slot.
pub struct Bench {
    /// What the controller was built with.
    pub machine: TestMachine,
    /// The guest's RAM, [`MEMORY`] bytes.
    pub memory: GuestRam,
    /// The controller.
    pub card: Arc<Nvme>,
    /// The PCI function around it.
    pub function: Arc<PciFunction>,
    /// The controller's vectors.
    pub vectors: Arc<TestMsiSet>,
    /// What is behind it.
    pub disk: Disk,
    mmio: BusView,
    free: u64,
}

impl Bench {
    /// A controller of so many I/O queues; its BARs are where firmware put them, nothing is enabled.
    pub fn new(queues: u16) -> Bench {
        Bench::of(&spec(), queues)
    }

    /// A controller as `spec` says.
    pub fn of(spec: &DiskSpec, queues: u16) -> Bench {
        Bench::with(Threads::by_hand().unwrap(), queues, |machine, disk| {
            let (lanes, port) = (Box::new(disk.clone()), Arc::new(disk.clone()));
            Nvme::on_lanes(spec, lanes, port, &machine.kit()).unwrap()
        })
    }

    /// A controller of the caller's on such threads; the bench's own disk is not behind it.
    pub fn around(
        threads: Threads,
        queues: u16,
        build: impl FnOnce(&TestMachine) -> Arc<Nvme>,
    ) -> Bench {
        Bench::with(threads, queues, |machine, _| build(machine))
    }

    fn with(
        threads: Threads,
        queues: u16,
        build: impl FnOnce(&TestMachine, &Disk) -> Arc<Nvme>,
    ) -> Bench {
        let mut machine = TestMachine::new(ram_at(&[(0, MEMORY as usize)]));
        machine.threads = threads;
        let disk = Disk::new(queues, DISK, &machine.memory);
        let card = build(&machine, &disk);
        let bus = Bus::new();
        let windows = Windows { low: 0xe000_0000..0xf000_0000, high: 0..0 };
        let function = PciFunction::new(card.clone(), bus.clone(), windows).unwrap();
        let bench = Bench {
            memory: machine.memory.clone(),
            vectors: machine.msi.set(0),
            machine,
            card,
            function: Arc::new(function),
            disk,
            mmio: bus.view(),
            free: HEAP,
        };
        bench.assign();
        bench
    }

    /// What firmware does.
    fn assign(&self) {
        self.function.assign(registers::REGISTERS, BAR0);
        self.function.assign(registers::MSIX, BAR4);
    }

    /// BARs where firmware put them, all enabled: for a controller that anything was done to.
    pub fn restore(&mut self) {
        self.assign();
        self.enable();
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

    /// Enables memory decoding and bus mastering, and all MSI-X vectors, each to an address of its own.
    pub fn enable(&mut self) {
        use device_core::interrupt::MsiSet;
        self.set_bus_master(true);
        for vector in 0..self.vectors.count() {
            let entry = BAR4 + u64::from(vector) * 16;
            for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, u64::from(vector)), (12, 0)] {
                self.mmio.write(entry + at, Width::B4, value);
            }
        }
        let msix = self.capability(0x11).unwrap();
        self.function.write_config(msix + 2, Width::B2, MSIX_ENABLE);
    }

    /// Masks a table entry.
    pub fn mask_vector(&mut self, vector: u16, masked: bool) {
        let entry = BAR4 + u64::from(vector) * 16;
        self.mmio.write(entry + 12, Width::B4, masked.into());
    }

    /// The pending bits of the first 64 vectors.
    pub fn pending(&mut self) -> u64 {
        self.mmio.read(BAR4 + 0x1000, Width::B8).unwrap()
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

    /// A guest's read of BAR 0.
    pub fn peek(&mut self, offset: u64, width: Width) -> u64 {
        self.mmio.read(BAR0 + offset, width).unwrap_or(width.mask())
    }

    /// A guest's write to BAR 0, as the machine does it: where the kernel is told of it, it goes no
    /// further.
    pub fn poke(&mut self, offset: u64, width: Width, value: u64) {
        if !self.machine.kicks.kick(BAR0 + offset) {
            self.mmio.write(BAR0 + offset, width, value);
        }
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
        assert!(self.free <= MEMORY, "the test uses too much memory");
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
        for _ in 0..3 {
            self.disk.turn();
            self.card.settle();
        }
    }
}

//! A test bench: a controller in a slot, with memory, interrupts and a disk.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use block::spec::{DiskSpec, Model};
use device_core::GuestRam;
use device_core::device::Device;
use device_core::testing::{TestMachine, ram_at};
use device_core::worker::Threads;
use pci::testing::{Places, Slot};

use super::disk::Disk;
use crate::Nvme;
use crate::registers;

/// Bytes of RAM, from 0 on.
pub const MEMORY: u64 = 0x100_0000;
/// Bytes of the disk.
pub const DISK: u64 = 8 << 20;
/// Where firmware puts the registers.
pub(crate) const BAR0: u64 = 0xe000_0000;
const BAR4: u64 = 0xe010_0000;
const PLACES: Places =
    Places { bars: &[(registers::REGISTERS, BAR0), (registers::MSIX, BAR4)], msix: BAR4 };

/// What a user says of a disk.
pub fn spec() -> DiskSpec {
    DiskSpec { model: Model::Nvme, ..DiskSpec::on("data", "image") }
}

/// A controller in its slot.
pub struct Bench {
    slot: Slot,
    /// The controller.
    pub card: Arc<Nvme>,
    /// What is behind it.
    pub disk: Disk,
    spec: DiskSpec,
}

impl Bench {
    /// A controller of so many I/O queues; its BARs are where firmware put them, nothing is enabled.
    pub fn new(queues: u16) -> Bench {
        Bench::of(&spec(), queues)
    }

    /// A controller as `spec` says.
    pub fn of(spec: &DiskSpec, queues: u16) -> Bench {
        let memory = ram_at(&[(0, MEMORY as usize)]);
        Bench::on(spec, Disk::new(queues, DISK, &memory), memory)
    }

    fn on(spec: &DiskSpec, disk: Disk, memory: GuestRam) -> Bench {
        let bench = Bench::with(Threads::by_hand().unwrap(), disk, memory, |machine, disk| {
            let (lanes, port) = (Box::new(disk.clone()), Arc::new(disk.clone()));
            Nvme::on_lanes(spec, lanes, port, &machine.kit()).unwrap()
        });
        Bench { spec: spec.clone(), ..bench }
    }

    /// A fresh controller of the same kind in a fresh slot over the same memory of the guest, on the same
    /// disk; it rests, as this one must.
    pub fn fresh(&self) -> Bench {
        let bench = Bench::on(&self.spec, self.disk.clone(), self.memory.clone());
        bench.card.stop();
        bench
    }

    /// Another controller in this one's place, which goes on from its state; it runs. Panics unless its
    /// state is the same then.
    pub fn replace(&mut self) {
        self.card.stop();
        let saved = self.card.save().unwrap();
        let mut next = self.fresh();
        next.take_over(self);
        next.card.load(&saved).unwrap();
        assert_eq!(next.card.save().unwrap(), saved);
        next.card.start();
        *self = next;
    }

    /// A controller of the caller's on such threads; the bench's own disk is not behind it.
    pub fn around(
        threads: Threads,
        queues: u16,
        build: impl FnOnce(&TestMachine) -> Arc<Nvme>,
    ) -> Bench {
        let memory = ram_at(&[(0, MEMORY as usize)]);
        let disk = Disk::new(queues, DISK, &memory);
        Bench::with(threads, disk, memory, |machine, _| build(machine))
    }

    fn with(
        threads: Threads,
        disk: Disk,
        memory: GuestRam,
        build: impl FnOnce(&TestMachine, &Disk) -> Arc<Nvme>,
    ) -> Bench {
        let mut machine = TestMachine::new(memory);
        machine.threads = threads;
        let card = build(&machine, &disk);
        Bench { slot: Slot::new(machine, card.clone(), PLACES), card, disk, spec: spec() }
    }

    /// Returns after all that is ready now has been done.
    pub fn settle(&self) {
        for _ in 0..3 {
            self.disk.turn();
            self.card.settle();
        }
    }
}

impl Deref for Bench {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

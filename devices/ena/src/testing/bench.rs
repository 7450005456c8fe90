//! A test bench: a card in a slot, with memory, interrupts and the other end of its cable.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Device;
use device_core::testing::{TestMachine, ram};
use device_core::worker::Threads;
use net::backend::script::{Stage, stage};
use net::backend::{Limits, NetBackend, NetQueue};
use net::frame::Offloads;
use net::mac::MacAddr;
use net::port::NetPort;
use net::spec::{Model, NicSpec};
use pci::testing::{Places, Slot};

use crate::Ena;
use crate::registers;

/// The card's address.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The card's largest MTU, in bytes.
pub const MAX_MTU: u16 = 9216;
/// Bytes of RAM, from 0 on.
pub const MEMORY: usize = 0x200_0000;
/// Where firmware puts the registers.
pub(crate) const BAR0: u64 = 0xe000_0000;
const BAR1: u64 = 0xe010_0000;
const BAR2: u64 = 0xe100_0000;
const PLACES: Places = Places {
    bars: &[(registers::REGISTERS, BAR0), (registers::MSIX, BAR1), (registers::LLQ, BAR2)],
    msix: BAR1,
};

/// What the backend can do: everything.
pub const ABLE: Limits = Limits { tx: Offloads::all(), rx: Offloads::all(), mtu: Some(1500) };

/// What a user says of a card of one queue pair.
pub fn spec() -> NicSpec {
    let (mac, mtu) = (Some(MAC), Some(MAX_MTU));
    NicSpec { model: Model::Ena, mac, mtu, ..NicSpec::on_tap("test", "none") }
}

/// A card in its slot.
pub struct Bench {
    slot: Slot,
    /// The card.
    pub card: Arc<Ena>,
    /// The other end of the cable, one for each lane.
    pub stages: Vec<Stage>,
    spec: NicSpec,
    limits: Limits,
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
        Bench::over(ram(MEMORY), threads, spec, backend, queues, stages)
    }

    fn over(
        memory: GuestRam,
        threads: Threads,
        spec: &NicSpec,
        backend: Box<dyn NetBackend>,
        queues: Vec<Box<dyn NetQueue>>,
        stages: Vec<Stage>,
    ) -> Bench {
        let mut machine = TestMachine::new(memory);
        machine.threads = threads;
        let limits = backend.limits();
        let port = NetPort::with_backend("test", backend, queues, &machine.kit());
        let card = Ena::on_port(spec, port.unwrap(), &machine.kit()).unwrap();
        let slot = Slot::new(machine, card.clone(), PLACES);
        Bench { slot, card, stages, spec: spec.clone(), limits }
    }

    /// A fresh card of the same kind in a fresh slot over the same memory of the guest, which rests. On
    /// its cable there is nothing yet.
    pub fn fresh(&self) -> Bench {
        let (backend, queues, stages) = stage(self.spec.queues, self.limits).unwrap();
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
        let (memory, threads) = (self.memory.clone(), Threads::by_hand().unwrap());
        let bench =
            Bench::over(memory, threads, &self.spec, Box::new(backend), queues.collect(), stages);
        bench.card.stop();
        bench
    }

    /// Another card in this one's place, which goes on from its state; it runs. Panics unless its state
    /// is the same then.
    pub fn replace(&mut self) {
        self.card.stop();
        let saved = self.card.save().unwrap();
        let mut next = self.fresh();
        next.take_over(self);
        next.card.load(&saved).unwrap();
        assert_eq!(next.card.save().unwrap(), saved);
        for (stage, old) in next.stages.iter().zip(&self.stages) {
            stage.set_blocked(old.scene().blocked);
            stage.scene().incoming = std::mem::take(&mut old.scene().incoming);
            stage.scene().sent = old.take_sent();
        }
        next.card.start();
        *self = next;
    }

    /// A guest's write to BAR 2.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) {
        for (at, chunk) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_at(BAR2 + at, Width::B8, u64::from_le_bytes(word));
        }
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

//! A virtio card in its slot, and the notes of a driver that may do anything to its rings: what machines with such
//! a card have in common.

use std::sync::{Arc, OnceLock};

use device_core::GuestRam;
use device_core::bus::{Bus, Width};
use device_core::device::Device;
use device_core::interrupt::{MsiMessage, MsiSet, Route};
use device_core::testing::TestMachine;
use device_core::worker::Threads;
use pci::bus::PciBus;
use pci::device::PciDevice;
use pci::function::PciFunction;
use pci::windows::Windows;
use virtio::testing::ring::{Descriptor, DriverRing};
use virtio::transport::pci::VirtioCard;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{Access, EVENT_IDX, Rings, Structures, VERSION_1};
use crate::input::Output;
use crate::memory::{clear, copy_to, moated_ram};
use crate::ring_step::RingStep;

/// Largest size of a queue.
pub const SIZE: u16 = 256;
const RAM: [(u64, usize); 2] = [(0, 0x4_0000), (0x8_0000, 0x2_0000)];
/// Where rings are unless a step puts them elsewhere; buffers go behind.
const RINGS_AT: u64 = 0x1000;
const BUFFERS_END: u64 = 0x3_0000;

/// The driver's own notes on a queue.
#[derive(Clone, Copy, Debug)]
struct Queue {
    rings: Rings,
    offered: u16,
    next_descriptor: u16,
}

impl Queue {
    fn new(number: usize, size: u16) -> Queue {
        let descriptors = RINGS_AT + number as u64 * DriverRing::bytes(SIZE);
        let rings = Rings {
            size,
            descriptors,
            available: descriptors + 0x1000,
            used: descriptors + 0x2000,
        };
        Queue { rings, offered: 0, next_descriptor: 0 }
    }
}

/// A card, its memory, and its driver.
pub struct Slot {
    pub memory: GuestRam,
    card: Arc<VirtioCard>,
    function: Arc<PciFunction>,
    pub structures: Structures,
    offered: u64,
    /// What the driver has agreed to.
    pub negotiated: u64,
    sizes: Vec<u16>,
    queues: Vec<Queue>,
    next_buffer: u64,
    stopped: bool,
    bus_master: bool,
    /// Room for copies of memory.
    copies: [Vec<u8>; 2],
}

/// What a card is built with, in memory with nothing beside it.
pub fn test_machine() -> TestMachine {
    static MEMORY: OnceLock<GuestRam> = OnceLock::new();
    let mut machine = TestMachine::new(MEMORY.get_or_init(|| moated_ram(&RAM)).clone());
    machine.threads = Threads::by_hand().expect("an epoll");
    machine
}

impl Slot {
    /// A card that was built with `machine`, and has queues of these sizes.
    pub fn new(machine: &TestMachine, card: Arc<VirtioCard>, sizes: &[u16]) -> Slot {
        let windows = Windows { low: 0xe000_0000..0xe100_0000, high: 0..0 };
        let pci = PciBus::new(Bus::new(), windows).expect("a bridge");
        let slot = pci.attach(card.clone()).expect("a free slot");
        let vectors = machine.msi.set(0);
        let open = |index| Route { index, to: Some(MsiMessage::default()) };
        let routes: Vec<Route> = (0..vectors.count()).map(open).collect();
        vectors.route(&routes).expect("vectors");
        card.bus_master(true);
        let mut slot = Slot {
            memory: machine.memory.clone(),
            card,
            function: pci.function(slot).expect("just attached"),
            structures: Structures::default(),
            offered: 0,
            negotiated: 0,
            sizes: sizes.to_vec(),
            queues: Vec::new(),
            next_buffer: 0,
            stopped: false,
            bus_master: true,
            copies: Default::default(),
        };
        slot.forget();
        slot.structures = Structures::find(&mut slot);
        slot.offered = slot.structures.offered(&mut slot);
        slot
    }

    fn buffers_at(&self) -> u64 {
        RINGS_AT + self.sizes.len() as u64 * DriverRing::bytes(SIZE)
    }

    fn forget(&mut self) {
        self.queues =
            self.sizes.iter().enumerate().map(|(at, size)| Queue::new(at, *size)).collect();
        self.next_buffer = self.buffers_at();
    }

    /// Zeroed memory, and a driver that knows of nothing; the card stays as it is.
    pub fn begin(&mut self) {
        clear(&self.memory);
        self.forget();
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: RingStep) {
        match step {
            RingStep::Place { queue, size, descriptors, available, used } => {
                self.queues[usize::from(queue)].rings = Rings {
                    size,
                    descriptors: descriptors.into(),
                    available: available.into(),
                    used: used.into(),
                };
            }
            RingStep::Start { features, queues } => self.start(features, queues),
            RingStep::Describe { queue, index, descriptor } => {
                self.describe(queue, index, descriptor);
            }
            RingStep::Offer { queue, head } => self.offer(queue, head),
            RingStep::SetAvailable { queue, index } => self.set_available(queue, index),
            RingStep::SetEvent { queue, flags, event } => {
                let rings = self.queues[usize::from(queue)].rings;
                self.write(rings.available, &flags.to_le_bytes());
                let at = rings.available + 4 + u64::from(rings.size) * 2;
                self.write(at, &event.to_le_bytes());
            }
            RingStep::WriteMemory { address, bytes } => self.write(address.into(), &bytes),
        }
    }

    /// Reset to DRIVER_OK with these features, as far as offered, and the queues of this set.
    pub fn start(&mut self, features: u64, queues: u8) {
        self.negotiated = features & self.offered | VERSION_1;
        let structures = self.structures;
        assert!(structures.negotiate(self, self.negotiated), "offered, but refused");
        for queue in (0..self.sizes.len()).filter(|queue| queues >> queue & 1 != 0) {
            let notes = &mut self.queues[queue];
            (notes.offered, notes.next_descriptor) = (0, 0);
            let (rings, queue) = (notes.rings, queue as u16);
            structures.set_queue(self, queue, queue + 1, rings);
        }
        structures.run(self);
    }

    /// A good driver starts anew, with all queues; its halves of them.
    pub fn start_well(&mut self, features: u64) -> Vec<DriverRing> {
        self.begin();
        self.start(features | EVENT_IDX, (1 << self.sizes.len()) - 1);
        let ring = |queue: &Queue| {
            DriverRing::new(&self.memory, queue.rings.descriptors, queue.rings.size, true)
        };
        self.queues.iter().map(ring).collect()
    }

    /// Bytes of guest memory, if there is such memory.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }

    fn describe(&self, queue: u8, index: u16, descriptor: Descriptor) {
        let Descriptor { addr, len, flags, next } = descriptor;
        let mut bytes = Output::default();
        bytes.u64(addr).u32(len).u16(flags).u16(next);
        let table = self.queues[usize::from(queue)].rings.descriptors;
        self.write(table + u64::from(index) * 16, &bytes.0);
    }

    fn offer(&mut self, queue: u8, head: u16) {
        let notes = &mut self.queues[usize::from(queue)];
        let slot = notes.offered.checked_rem(notes.rings.size).unwrap_or_default();
        notes.offered = notes.offered.wrapping_add(1);
        let (at, offered) = (notes.rings.available + 4 + u64::from(slot) * 2, notes.offered);
        self.write(at, &head.to_le_bytes());
        self.set_available(queue, offered);
    }

    fn set_available(&self, queue: u8, index: u16) {
        let at = self.queues[usize::from(queue)].rings.available + 2;
        self.write(at, &index.to_le_bytes());
    }

    /// Puts buffers on offer as one chain of the next descriptors.
    pub fn offer_buffers(&mut self, queue: u8, buffers: &[(u64, u32, u16)]) {
        let notes = self.queues[usize::from(queue)];
        let size = notes.rings.size.max(1);
        let index = |nth: u16| notes.next_descriptor.wrapping_add(nth) % size;
        let last = buffers.len() as u16 - 1;
        for (nth, &(addr, len, flags)) in (0..).zip(buffers) {
            let (more, next) = if nth < last { (1, index(nth + 1)) } else { (0, 0) };
            self.describe(queue, index(nth), Descriptor { addr, len, flags: flags | more, next });
        }
        self.queues[usize::from(queue)].next_descriptor = index(last + 1);
        self.offer(queue, index(0));
    }

    /// The next place for a buffer; the oldest are overwritten some time.
    pub fn buffer(&mut self, len: u64) -> u64 {
        if self.next_buffer + len > BUFFERS_END {
            self.next_buffer = self.buffers_at();
        }
        let at = self.next_buffer;
        self.next_buffer = (at + len).next_multiple_of(64).min(BUFFERS_END);
        at
    }

    /// A driver's notification.
    pub fn kick(&mut self, queue: u16) {
        let structures = self.structures;
        structures.kick(self, queue);
    }

    /// A driver's write to the common configuration.
    pub fn write_register(&mut self, offset: u8, width: Width, value: u32) {
        let at = self.structures.common + u64::from(offset);
        self.write_bar(at, width, u64::from(value) & width.mask());
    }

    /// A driver's read of the device's own configuration.
    pub fn read_device(&mut self, offset: u8, width: Width) {
        self.read_bar(self.structures.config + u64::from(offset), width);
    }

    /// And a write there.
    pub fn write_device(&mut self, offset: u8, width: Width, value: u32) {
        self.write_bar(self.structures.config + u64::from(offset), width, value.into());
    }

    /// What the owner of the machine does to the card, and the driver's ways to give up; nothing for other events.
    pub fn live(&mut self, event: u8) {
        let structures = self.structures;
        match event {
            0 if self.stopped => {
                self.stopped = false;
                self.card.start();
            }
            0 => {
                self.stopped = true;
                self.card.stop();
            }
            1 => {
                self.bus_master = !self.bus_master;
                self.card.bus_master(self.bus_master);
            }
            2 => structures.set_status(self, 0),
            3 => {
                let status = structures.status(self);
                structures.set_status(self, status | 0x80);
            }
            _ => {}
        }
    }

    /// The machine runs, the card may do DMA, and its driver has reset it.
    pub fn reset(&mut self) {
        if self.stopped {
            self.live(0);
        }
        if !self.bus_master {
            self.live(1);
        }
        let structures = self.structures;
        structures.set_status(self, 0);
        assert_eq!(structures.status(self), 0);
    }

    /// All of memory now, for [`Slot::is_as_copied`].
    pub fn copy(&mut self) {
        copy_to(&self.memory, &mut self.copies[0]);
    }

    /// Whether memory is as it was when it was copied.
    pub fn is_as_copied(&mut self) -> bool {
        let [before, after] = &mut self.copies;
        copy_to(&self.memory, after);
        before == after
    }
}

impl Access for Slot {
    fn read_bar(&mut self, offset: u64, width: Width) -> u64 {
        self.card.read(0, offset, width)
    }
    fn write_bar(&mut self, offset: u64, width: Width, value: u64) {
        self.card.write(0, offset, width, value);
    }
    fn read_config(&mut self, register: u16, width: Width) -> u64 {
        self.function.read_config(register, width)
    }
}

//! A virtio disk behind its transport: rings and requests of any kind, a host that holds, cuts short and fails
//! what it is asked, and a good driver afterwards.
//!
//! No thread takes part: [`Machine::settle`] gives each of the disk's lanes one turn.

mod step;

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use block::control::DiskControl;
use block::engine::script::{Answer, Stage};
use block::image::{Alignment, Image};
use block::port::DiskPort;
use block::spec::{DiskSpec, Fault};
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
use virtio::block::{Block, Disk};
use virtio::testing::disk::{FLUSH, IN, OK, OUT, RING, USUAL};
use virtio::testing::ring::{Descriptor, DriverRing, WRITE, readable, writable};
use virtio::transport::pci::VirtioCard;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{Access, EVENT_IDX, Rings, Structures, VERSION_1};
use crate::input::{Input, Output};
use crate::memory::{clear, copy_to, moated_ram};

pub use step::Step;

const RAM: [(u64, usize); 2] = [(0, 0x4_0000), (0x8_0000, 0x2_0000)];
pub const QUEUES: u16 = 2;
/// Where rings are unless a step puts them elsewhere; buffers of requests go behind.
const RINGS_AT: u64 = 0x1000;
const BUFFERS_AT: u64 = RINGS_AT + QUEUES as u64 * DriverRing::bytes(RING);
const BUFFERS_END: u64 = 0x3_0000;
/// Bytes of the disk.
pub const SIZE: u64 = 1 << 20;

/// The driver's own notes on a queue.
#[derive(Clone, Copy, Debug)]
struct Queue {
    rings: Rings,
    offered: u16,
    next_descriptor: u16,
}

impl Queue {
    fn new(queue: u16) -> Queue {
        let descriptors = RINGS_AT + u64::from(queue) * DriverRing::bytes(RING);
        let rings = Rings {
            size: RING,
            descriptors,
            available: descriptors + 0x1000,
            used: descriptors + 0x2000,
        };
        Queue { rings, offered: 0, next_descriptor: 0 }
    }
}

/// A disk, its memory, and the host behind it.
pub struct Machine {
    memory: GuestRam,
    block: Arc<Block>,
    disk: Disk,
    card: Arc<VirtioCard>,
    function: Arc<PciFunction>,
    structures: Structures,
    stage: Stage,
    holds: bool,
    offered: u64,
    queues: [Queue; QUEUES as usize],
    next_buffer: u64,
    stopped: bool,
    bus_master: bool,
    /// The host failed something, which outlives a reset of the disk.
    spoiled: bool,
    copies: [Vec<u8>; 2],
}

impl Machine {
    pub fn new() -> Machine {
        static MEMORY: OnceLock<GuestRam> = OnceLock::new();
        let memory = MEMORY.get_or_init(|| moated_ram(&RAM)).clone();
        let mut machine = TestMachine::new(memory.clone());
        machine.threads = Threads::by_hand().expect("an epoll");
        let kit = machine.kit();
        // It wants whole blocks in aligned memory, so that what is fuzzed holds the copies too.
        let alignment = Alignment { memory: 512, block: 512 };
        let image = Image::in_memory(SIZE, false, Some(alignment));
        let spec = DiskSpec::on("fuzz", "memory");
        let (port, stage) = DiskPort::scripted(&spec, image, QUEUES, &kit);
        let block = Block::on_port(port, &kit);
        let card = VirtioCard::new(block.clone(), &kit).expect("a card");
        let windows = Windows { low: 0xe000_0000..0xe100_0000, high: 0..0 };
        let pci = PciBus::new(Bus::new(), windows).expect("a bridge");
        let slot = pci.attach(card.clone()).expect("a free slot");
        let vectors = machine.msi.set(0);
        let open = |index| Route { index, to: Some(MsiMessage::default()) };
        let routes: Vec<Route> = (0..vectors.count()).map(open).collect();
        vectors.route(&routes).expect("vectors");
        let mut machine = Machine {
            memory,
            disk: Disk::new(block.clone()),
            block,
            card,
            function: pci.function(slot).expect("just attached"),
            structures: Structures::default(),
            stage,
            holds: false,
            offered: 0,
            queues: std::array::from_fn(|queue| Queue::new(queue as u16)),
            next_buffer: BUFFERS_AT,
            stopped: false,
            bus_master: true,
            spoiled: false,
            copies: Default::default(),
        };
        machine.card.bus_master(true);
        machine.structures = Structures::find(&mut machine);
        machine.offered = machine.structures.offered(&mut machine);
        machine
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Place { queue, size, descriptors, available, used } => {
                self.queues[usize::from(queue)].rings = Rings {
                    size,
                    descriptors: descriptors.into(),
                    available: available.into(),
                    used: used.into(),
                };
            }
            Step::Start { features, queues } => self.letting_go(|it| it.start(features, queues)),
            Step::Describe { queue, index, descriptor } => self.describe(queue, index, descriptor),
            Step::Offer { queue, head } => self.offer(queue, head),
            Step::SetAvailable { queue, index } => self.set_available(queue, index),
            Step::SetEvent { queue, flags, event } => {
                let rings = self.queues[usize::from(queue)].rings;
                self.write(rings.available, &flags.to_le_bytes());
                let at = rings.available + 4 + u64::from(rings.size) * 2;
                self.write(at, &event.to_le_bytes());
            }
            Step::WriteMemory { address, bytes } => self.write(address.into(), &bytes),
            Step::Kick { queue } => self.structures.kick(self, queue.into()),
            Step::Settle => self.settle(),
            Step::Request { queue, kind, sector, len, shift } => {
                self.request(queue, kind, sector, len, shift);
            }
            Step::Ranges { queue, kind, ranges } => self.ranges(queue, kind, &ranges),
            Step::Host { event, value } => self.play(event, value),
            Step::Life { event } => self.letting_go(|it| it.live(event)),
            Step::WriteRegister { offset, width, value } => self.letting_go(|it| {
                let at = it.structures.common + u64::from(offset);
                it.write_bar(at, width, u64::from(value) & width.mask());
            }),
            Step::ReadDevice { offset, width } => {
                let at = self.structures.config + u64::from(offset);
                self.read_bar(at, width);
            }
            Step::WriteDevice { offset, width, value } => {
                let at = self.structures.config + u64::from(offset);
                self.write_bar(at, width, value.into());
            }
        }
    }

    /// What may wait for the host, while that holds nothing.
    fn letting_go(&mut self, f: impl FnOnce(&mut Machine)) {
        self.stage.release_all();
        f(self);
        if self.holds {
            self.stage.hold();
        }
    }

    fn start(&mut self, features: u64, queues: u8) {
        let negotiated = features & self.offered | VERSION_1;
        assert!(self.structures.negotiate(self, negotiated), "offered, but refused");
        for queue in (0..QUEUES).filter(|queue| queues >> queue & 1 != 0) {
            let notes = &mut self.queues[usize::from(queue)];
            (notes.offered, notes.next_descriptor) = (0, 0);
            let rings = notes.rings;
            self.structures.set_queue(self, queue, queue + 1, rings);
        }
        self.structures.run(self);
    }

    /// Bytes of guest memory, if there is such memory.
    fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }

    fn describe(&mut self, queue: u8, index: u16, descriptor: Descriptor) {
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

    fn set_available(&mut self, queue: u8, index: u16) {
        let at = self.queues[usize::from(queue)].rings.available + 2;
        self.write(at, &index.to_le_bytes());
    }

    /// Puts buffers on offer as one chain of the next descriptors.
    fn offer_buffers(&mut self, queue: u8, buffers: &[(u64, u32, u16)]) {
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
    fn buffer(&mut self, len: u64) -> u64 {
        if self.next_buffer + len > BUFFERS_END {
            self.next_buffer = BUFFERS_AT;
        }
        let at = self.next_buffer;
        self.next_buffer = (at + len).next_multiple_of(64).min(BUFFERS_END);
        at
    }

    fn header(&mut self, kind: u8, sector: u32) -> u64 {
        let at = self.buffer(16);
        self.write(at, &u32::from(kind).to_le_bytes());
        self.write(at + 8, &u64::from(sector).to_le_bytes());
        at
    }

    /// A request as drivers send it, its data `shift` bytes from where it should be.
    fn request(&mut self, queue: u8, kind: u8, sector: u32, len: u16, shift: u8) {
        let header = self.header(kind, sector);
        let data = self.buffer(u64::from(len) + 256) + u64::from(shift);
        let status = self.buffer(1);
        let into = if u32::from(kind) == OUT { 0 } else { WRITE };
        let buffers = [(header, 16, 0), (data, len.into(), into), (status, 1, WRITE)];
        match len {
            0 => self.offer_buffers(queue, &[buffers[0], buffers[2]]),
            _ => self.offer_buffers(queue, &buffers),
        }
    }

    fn ranges(&mut self, queue: u8, kind: u8, ranges: &[u8]) {
        let header = self.header(kind, 0);
        let (data, status) = (self.buffer(ranges.len() as u64), self.buffer(1));
        self.write(data, ranges);
        let len = ranges.len() as u32;
        self.offer_buffers(queue, &[(header, 16, 0), (data, len, 0), (status, 1, WRITE)]);
    }

    /// What the host does from now on, or to the next task.
    fn play(&mut self, event: u8, value: u16) {
        match event {
            0 => {
                self.holds = true;
                self.stage.hold();
            }
            1 => {
                self.holds = false;
                self.stage.release_all();
            }
            2 if self.stage.held() > 0 => {
                self.stage.release(usize::from(value) % self.stage.held());
            }
            3 => self.stage.answer(&[Answer::Short(value.into())]),
            4 => {
                self.spoiled = true;
                self.stage.answer(&[Answer::Fail(i32::from(value % 134).max(1))]);
            }
            _ => {}
        }
    }

    /// What the owner of the machine does to the disk, and the driver's ways to give up.
    fn live(&mut self, event: u8) {
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
            2 => self.structures.set_status(self, 0),
            3 => {
                let status = self.structures.status(self);
                self.structures.set_status(self, status | 0x80);
            }
            4 => drop(self.disk.inject(Fault::Swallow)),
            5 => drop(self.disk.inject(Fault::Error)),
            6 => self.disk.clear_faults(),
            _ => {}
        }
    }

    /// One turn of each lane, after which the host was asked for nothing outside of its image.
    fn settle(&mut self) {
        self.block.settle();
        for asked in self.stage.asked() {
            assert!(asked.offset + asked.len <= SIZE, "{asked:?}");
        }
    }

    /// After a reset the disk leaves memory alone; then a good driver has a disk that works.
    fn check_recovery(&mut self) {
        self.holds = false;
        self.stage.forget_answers();
        self.stage.release_all();
        self.disk.clear_faults();
        if self.stopped {
            self.live(0);
        }
        if !self.bus_master {
            self.live(1);
        }
        self.structures.set_status(self, 0);
        assert_eq!(self.structures.status(self), 0);
        let lanes = self.block.port().stats();
        assert!(lanes.iter().all(|lane| lane.in_flight() == 0), "something is still in flight");
        let [mut before, mut after] = std::mem::take(&mut self.copies);
        copy_to(&self.memory, &mut before);
        (0..QUEUES).for_each(|queue| self.structures.kick(self, queue));
        self.settle();
        self.settle();
        copy_to(&self.memory, &mut after);
        assert!(before == after, "a disk that was reset wrote to memory");
        self.copies = [before, after];
        if !self.spoiled {
            self.check_requests();
            self.structures.set_status(self, 0);
        }
    }

    fn check_requests(&mut self) {
        clear(&self.memory);
        self.queues = std::array::from_fn(|queue| Queue::new(queue as u16));
        self.start(USUAL | EVENT_IDX, 3);
        let rings = self.queues.map(|Queue { rings, .. }| {
            DriverRing::new(&self.memory, rings.descriptors, rings.size, true)
        });
        let [mut first, mut second] = rings;
        const HEADERS: u64 = 0x2_0000;
        const DATA: u64 = 0x2_1000;
        const STATUS: u64 = 0x2_2000;
        for (at, kind) in [(0, OUT), (16, FLUSH), (32, IN)] {
            self.write(HEADERS + at, &kind.to_le_bytes());
        }
        self.write(DATA, &[0xa5; 512]);
        self.write(STATUS, &[0xee; 3]);
        let header = |nth: u64| readable(HEADERS + nth * 16, 16);
        let status = |nth: u64| writable(STATUS + nth, 1);
        for (queue, ring, chain) in [
            (0, &mut first, vec![header(0), readable(DATA, 512), status(0)]),
            (1, &mut second, vec![header(1), status(1)]),
        ] {
            ring.offer(&chain);
            self.structures.kick(self, queue);
            self.settle();
            assert_eq!(ring.take().map(|(_, len)| len), Some(1), "a request did not come back");
        }
        first.offer(&[header(2), writable(DATA + 513, 512), status(2)]);
        self.structures.kick(self, 0);
        self.settle();
        assert_eq!(first.take().map(|(_, len)| len), Some(513), "a read did not come back");
        let mut bytes = [0; 512];
        self.memory.read_slice(&mut bytes, GuestAddress(DATA + 513)).expect("in memory");
        let mut statuses = [0xee; 3];
        self.memory.read_slice(&mut statuses, GuestAddress(STATUS)).expect("in memory");
        assert_eq!((bytes, statuses), ([0xa5; 512], [OK; 3]));
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Access for Machine {
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

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

pub fn run(bytes: &[u8]) {
    MACHINE.with_borrow_mut(|kept| {
        let mut machine = kept.take().unwrap_or_default();
        clear(&machine.memory);
        machine.next_buffer = BUFFERS_AT;
        machine.queues = std::array::from_fn(|queue| Queue::new(queue as u16));
        let mut input = Input(bytes);
        while let Some(step) = Step::read(&mut input) {
            machine.apply(step);
        }
        machine.check_recovery();
        // What a reset of the disk cannot mend ends with the input.
        *kept = Some(machine).filter(|machine| !machine.spoiled);
    });
}

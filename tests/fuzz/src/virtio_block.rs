//! A virtio disk behind its transport: rings and requests of any kind, a host that holds, cuts short and fails
//! what it is asked, and a good driver afterwards.
//!
//! No thread takes part: [`Machine::settle`] gives each of the disk's lanes one turn.

mod step;

use std::cell::RefCell;
use std::sync::Arc;

use block::control::DiskControl;
use block::engine::script::{Answer, Stage};
use block::image::{Alignment, Image};
use block::port::DiskPort;
use block::spec::{DiskSpec, Fault};
use virtio::block::{Block, Disk};
use virtio::testing::disk::{FLUSH, IN, OK, OUT, USUAL};
use virtio::testing::ring::{WRITE, readable, writable};
use virtio::transport::pci::VirtioCard;
use vm_memory::{Bytes, GuestAddress};

use crate::input::Input;
use crate::ring_step::RingStep;
use crate::virtio_card::{self, Slot};

pub use step::Step;

pub const QUEUES: u16 = 2;
/// Bytes of the disk.
pub const SIZE: u64 = 1 << 20;

/// A disk, its driver, and the host behind it.
pub struct Machine {
    slot: Slot,
    block: Arc<Block>,
    disk: Disk,
    stage: Stage,
    holds: bool,
    /// The host failed something, which outlives a reset of the disk.
    spoiled: bool,
}

impl Machine {
    pub fn new() -> Machine {
        let machine = virtio_card::test_machine();
        let kit = machine.kit();
        // It wants whole blocks in aligned memory, so that what is fuzzed holds the copies too.
        let alignment = Alignment { memory: 512, block: 512 };
        let image = Image::in_memory(SIZE, false, Some(alignment));
        let spec = DiskSpec::on("fuzz", "memory");
        let (port, stage) = DiskPort::scripted(&spec, image, QUEUES, &kit);
        let block = Block::on_port(port, &kit);
        let card = VirtioCard::new(block.clone(), &kit).expect("a card");
        let slot = Slot::new(&machine, card, &[virtio_card::SIZE; QUEUES as usize]);
        let disk = Disk::new(block.clone());
        Machine { slot, disk, block, stage, holds: false, spoiled: false }
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Ring(step @ RingStep::Start { .. }) => {
                self.letting_go(|it| it.slot.apply(step));
            }
            Step::Ring(step) => self.slot.apply(step),
            Step::Kick { queue } => self.slot.kick(queue.into()),
            Step::Settle => self.settle(),
            Step::Request { queue, kind, sector, len, shift } => {
                self.request(queue, kind, sector, len, shift);
            }
            Step::Ranges { queue, kind, ranges } => self.ranges(queue, kind, &ranges),
            Step::Host { event, value } => self.play(event, value),
            Step::Life { event } => self.letting_go(|it| it.live(event)),
            Step::WriteRegister { offset, width, value } => {
                self.letting_go(|it| it.slot.write_register(offset, width, value));
            }
            Step::ReadDevice { offset, width } => self.slot.read_device(offset, width),
            Step::WriteDevice { offset, width, value } => {
                self.slot.write_device(offset, width, value);
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

    fn header(&mut self, kind: u8, sector: u32) -> u64 {
        let at = self.slot.buffer(16);
        self.slot.write(at, &u32::from(kind).to_le_bytes());
        self.slot.write(at + 8, &u64::from(sector).to_le_bytes());
        at
    }

    /// A request as drivers send it, its data `shift` bytes from where it should be.
    fn request(&mut self, queue: u8, kind: u8, sector: u32, len: u16, shift: u8) {
        let header = self.header(kind, sector);
        let data = self.slot.buffer(u64::from(len) + 256) + u64::from(shift);
        let status = self.slot.buffer(1);
        let into = if u32::from(kind) == OUT { 0 } else { WRITE };
        let buffers = [(header, 16, 0), (data, len.into(), into), (status, 1, WRITE)];
        match len {
            0 => self.slot.offer_buffers(queue, &[buffers[0], buffers[2]]),
            _ => self.slot.offer_buffers(queue, &buffers),
        }
    }

    fn ranges(&mut self, queue: u8, kind: u8, ranges: &[u8]) {
        let header = self.header(kind, 0);
        let (data, status) = (self.slot.buffer(ranges.len() as u64), self.slot.buffer(1));
        self.slot.write(data, ranges);
        let len = ranges.len() as u32;
        self.slot.offer_buffers(queue, &[(header, 16, 0), (data, len, 0), (status, 1, WRITE)]);
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
            4 => drop(self.disk.inject(Fault::Swallow)),
            5 => drop(self.disk.inject(Fault::Error)),
            6 => self.disk.clear_faults(),
            event => self.slot.live(event),
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
        self.slot.reset();
        let lanes = self.block.port().stats();
        assert!(lanes.iter().all(|lane| lane.in_flight() == 0), "something is still in flight");
        self.slot.copy();
        (0..QUEUES).for_each(|queue| self.slot.kick(queue));
        self.settle();
        self.settle();
        assert!(self.slot.is_as_copied(), "a disk that was reset wrote to memory");
        if !self.spoiled {
            self.check_requests();
            self.slot.live(2);
        }
    }

    fn check_requests(&mut self) {
        let mut rings = self.slot.start_well(USUAL);
        let [first, second] = &mut rings[..] else { unreachable!("there are two") };
        const HEADERS: u64 = 0x2_0000;
        const DATA: u64 = 0x2_1000;
        const STATUS: u64 = 0x2_2000;
        for (at, kind) in [(0, OUT), (16, FLUSH), (32, IN)] {
            self.slot.write(HEADERS + at, &kind.to_le_bytes());
        }
        self.slot.write(DATA, &[0xa5; 512]);
        self.slot.write(STATUS, &[0xee; 3]);
        let header = |nth: u64| readable(HEADERS + nth * 16, 16);
        let status = |nth: u64| writable(STATUS + nth, 1);
        for (queue, ring, chain) in [
            (0, &mut *first, vec![header(0), readable(DATA, 512), status(0)]),
            (1, second, vec![header(1), status(1)]),
        ] {
            ring.offer(&chain);
            self.slot.kick(queue);
            self.settle();
            assert_eq!(ring.take().map(|(_, len)| len), Some(1), "a request did not come back");
        }
        first.offer(&[header(2), writable(DATA + 513, 512), status(2)]);
        self.slot.kick(0);
        self.settle();
        assert_eq!(first.take().map(|(_, len)| len), Some(513), "a read did not come back");
        let mut bytes = [0; 512];
        self.slot.memory.read_slice(&mut bytes, GuestAddress(DATA + 513)).expect("in memory");
        let mut statuses = [0xee; 3];
        self.slot.memory.read_slice(&mut statuses, GuestAddress(STATUS)).expect("in memory");
        assert_eq!((bytes, statuses), ([0xa5; 512], [OK; 3]));
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

pub fn run(bytes: &[u8]) {
    MACHINE.with_borrow_mut(|kept| {
        let mut machine = kept.take().unwrap_or_default();
        machine.slot.begin();
        let mut input = Input(bytes);
        while let Some(step) = Step::read(&mut input) {
            machine.apply(step);
        }
        machine.check_recovery();
        // What a reset of the disk cannot mend ends with the input.
        *kept = Some(machine).filter(|machine| !machine.spoiled);
    });
}

//! A virtio network card behind its transport: rings, headers and commands of any kind, frames and
//! errors of its backend, and a good driver afterwards.
//!
//! Lane 0 has the scripted backend, which can fail in every way; lane 1 has a TAP's queue over a
//! socket, so that what is fuzzed holds the system calls too.
//!
//! No thread takes part: [`Machine::settle`] gives each of the card's workers one turn.

mod host;
mod step;

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use device_core::GuestRam;
use device_core::bus::Bus;
use device_core::bus::Width;
use device_core::device::Device;
use device_core::interrupt::{MsiMessage, MsiSet, Route};
use device_core::testing::TestMachine;
use device_core::worker::Threads;
use net::backend::script::{Scene, Stage, WireFrame, stage};
use net::backend::{NetQueue, QueueError};
use net::frame::{Csum, MAX_FRAME, MIN_FRAME, Offloads};
use net::port::NetPort;
use pci::bus::PciBus;
use pci::device::PciDevice;
use pci::function::PciFunction;
use pci::windows::Windows;
use virtio::net::Net;
use virtio::testing::nic::{ABLE, MAC};
use virtio::testing::ring::{Descriptor, DriverRing, WRITE, readable, writable};
use virtio::transport::pci::VirtioCard;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{Access, EVENT_IDX, Rings, Structures, VERSION_1};
use crate::input::{Input, Output};
use crate::memory::{clear, copy_to, moated_ram};
use host::{Cable, Meddled, Writes, frame};

pub use step::Step;

const RAM: [(u64, usize); 2] = [(0, 0x4_0000), (0x8_0000, 0x2_0000)];
const PAIRS: u16 = 2;
/// Two pairs and the control queue.
pub const QUEUES: u16 = 2 * PAIRS + 1;
const SIZE: u16 = 256;
const CONTROL_SIZE: u16 = 64;
/// Where rings are unless a step puts them elsewhere; buffers of frames and commands go behind.
const RINGS_AT: u64 = 0x1000;
const BUFFERS_AT: u64 = RINGS_AT + QUEUES as u64 * DriverRing::bytes(SIZE);
const BUFFERS_END: u64 = 0x3_0000;

pub const CTRL: u64 = 1 << 17 | 1 << 18 | 1 << 20 | 1 << 23;
pub const MQ: u64 = 1 << 22;
pub const MRG_RXBUF: u64 = 1 << 15;
/// Features that let a driver leave work to the card, and what work.
const HOST: [(u32, Offloads); 5] = [
    (0, Offloads::CSUM),
    (11, Offloads::TSO4),
    (12, Offloads::TSO6),
    (13, Offloads::ECN),
    (56, Offloads::USO4.union(Offloads::USO6)),
];

/// Frames that a lane may move in one turn.
const TURN: u64 = 256;

/// The driver's own notes on a queue.
#[derive(Clone, Copy, Debug)]
struct Queue {
    rings: Rings,
    offered: u16,
    next_descriptor: u16,
}

impl Queue {
    fn new(queue: u16) -> Queue {
        let size = if queue + 1 == QUEUES { CONTROL_SIZE } else { SIZE };
        let descriptors = RINGS_AT + u64::from(queue) * DriverRing::bytes(SIZE);
        let rings = Rings {
            size,
            descriptors,
            available: descriptors + 0x1000,
            used: descriptors + 0x2000,
        };
        Queue { rings, offered: 0, next_descriptor: 0 }
    }
}

/// A card, its memory, and the other end of its cable.
pub struct Machine {
    memory: GuestRam,
    net: Arc<Net>,
    card: Arc<VirtioCard>,
    function: Arc<PciFunction>,
    structures: Structures,
    /// What lane 0 plays.
    stage: Stage,
    /// Where lane 1 leads.
    cable: Cable,
    writes: Vec<Arc<Mutex<Writes>>>,
    offered: u64,
    queues: [Queue; QUEUES as usize],
    next_buffer: u64,
    negotiated: u64,
    stopped: bool,
    bus_master: bool,
    /// The backend had an error that outlives a reset of the card.
    spoiled: bool,
    /// Room for copies of memory.
    copies: [Vec<u8>; 2],
    /// What has been done, if anyone wants to know.
    pub record: Option<Vec<Step>>,
}

impl Machine {
    pub fn new() -> Machine {
        static MEMORY: OnceLock<GuestRam> = OnceLock::new();
        let memory = MEMORY.get_or_init(|| moated_ram(&RAM)).clone();
        let mut machine = TestMachine::new(memory.clone());
        machine.threads = Threads::by_hand().expect("an epoll");
        let (backend, mut script, mut stages) = stage(1, ABLE).expect("eventfds");
        let cable = Cable::new().expect("sockets");
        let queues: [Box<dyn NetQueue>; PAIRS as usize] =
            [Box::new(script.remove(0)), Box::new(cable.queue().expect("a socket"))];
        let writes: Vec<Arc<Mutex<Writes>>> = queues.iter().map(|_| Arc::default()).collect();
        let meddled = queues.into_iter().zip(&writes).map(|(queue, writes)| {
            let (memory, writes) = (memory.clone(), writes.clone());
            Box::new(Meddled { queue, memory, writes }) as Box<dyn NetQueue>
        });
        let kit = machine.kit();
        let port = NetPort::with_backend("fuzz", Box::new(backend), meddled.collect(), &kit);
        let net = Net::on_port("fuzz", MAC, port.expect("lanes"), &kit);
        let card = VirtioCard::new(net.clone(), &kit).expect("a card");
        let windows = Windows { low: 0xe000_0000..0xe100_0000, high: 0..0 };
        let pci = PciBus::new(Bus::new(), windows).expect("a bridge");
        let slot = pci.attach(card.clone()).expect("a free slot");
        let vectors = machine.msi.set(0);
        let open = |index| Route { index, to: Some(MsiMessage::default()) };
        let routes: Vec<Route> = (0..vectors.count()).map(open).collect();
        vectors.route(&routes).expect("vectors");
        let mut machine = Machine {
            memory,
            net,
            card,
            function: pci.function(slot).expect("just attached"),
            structures: Structures::default(),
            stage: stages.remove(0),
            cable,
            writes,
            offered: 0,
            queues: std::array::from_fn(|queue| Queue::new(queue as u16)),
            next_buffer: BUFFERS_AT,
            negotiated: 0,
            stopped: false,
            bus_master: true,
            spoiled: false,
            copies: Default::default(),
            record: None,
        };
        machine.card.bus_master(true);
        machine.structures = Structures::find(&mut machine);
        machine.offered = machine.structures.offered(&mut machine);
        machine
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: Step) {
        if let Some(record) = &mut self.record {
            record.push(step.clone());
        }
        match step {
            Step::Place { queue, size, descriptors, available, used } => {
                self.queues[usize::from(queue)].rings = Rings {
                    size,
                    descriptors: descriptors.into(),
                    available: available.into(),
                    used: used.into(),
                };
            }
            Step::Start { features, queues } => self.start(features, queues),
            Step::Describe { queue, index, descriptor } => {
                self.describe(queue, index, descriptor);
            }
            Step::Offer { queue, head } => self.offer(queue, head),
            Step::SetAvailable { queue, index } => self.set_available(queue, index),
            Step::SetEvent { queue, flags, event } => {
                let rings = self.queues[usize::from(queue)].rings;
                self.write(rings.available, &flags.to_le_bytes());
                let at = rings.available + 4 + u64::from(rings.size) * 2;
                self.write(at, &event.to_le_bytes());
            }
            Step::WriteMemory { address, bytes } => self.write(address.into(), &bytes),
            Step::Meddle { lane, address, bytes } => {
                self.writes[usize::from(lane)].lock().unwrap().push_back((address, bytes));
            }
            Step::Kick { queue } => self.structures.kick(self, queue.into()),
            Step::Settle => self.settle(),
            Step::Send { queue, header, len } => {
                let at = self.buffer(12 + u64::from(len));
                self.write(at, &header);
                self.write(at + 12, &[0xff; 64]);
                self.offer_buffers(queue, &[(at, 12 + u32::from(len), 0)]);
            }
            Step::Post { queue, count, len } => {
                for _ in 0..count {
                    let at = self.buffer(len.into());
                    self.offer_buffers(queue, &[(at, len.into(), WRITE)]);
                }
            }
            Step::Command { queue, class, command, data } => {
                let at = self.buffer(0x200);
                self.write(at, &[class, command]);
                self.write(at + 2, &data);
                let len = 2 + data.len() as u32;
                self.offer_buffers(queue, &[(at, len, 0), (at + 0x1ff, 1, WRITE)]);
            }
            Step::Bring { lane, kind, len, start, offset, segment } => {
                let frame = frame(kind, len, start, offset, segment);
                if lane == 0 { self.stage.bring(frame) } else { self.cable.bring(&frame) }
            }
            Step::Backend { event } => self.play(event),
            Step::Life { event } => self.live(event),
            Step::WriteRegister { offset, width, value } => {
                let at = self.structures.common + u64::from(offset);
                self.write_bar(at, width, u64::from(value) & width.mask());
            }
            Step::ReadDevice { offset, width } => {
                let at = self.structures.config + u64::from(offset);
                self.read_bar(at, width);
            }
        }
    }

    fn start(&mut self, features: u64, queues: u8) {
        self.negotiated = features & self.offered | VERSION_1;
        assert!(self.structures.negotiate(self, self.negotiated), "offered, but refused");
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

    /// What happens at the other end of lane 0's cable.
    fn play(&mut self, event: u8) {
        let stage = &self.stage;
        let error = || io::Error::other("scripted");
        match event {
            0 => stage.set_blocked(true),
            1 => stage.set_blocked(false),
            2 => stage.scene().send_errors.push_back(QueueError::Refused(error())),
            3 => stage.scene().send_errors.push_back(QueueError::Transient(error())),
            4 => stage.scene().recv_errors.push_back(QueueError::Refused(error())),
            5 => stage.scene().recv_errors.push_back(QueueError::NotReady),
            6 | 7 => {
                // The lane pauses, or the link is lost: neither is the card's to end.
                self.spoiled = true;
                let error = if event == 6 {
                    QueueError::Transient(error())
                } else {
                    QueueError::Gone(error())
                };
                stage.scene().recv_errors.push_back(error);
            }
            8 => {
                self.spoiled = true;
                stage.scene().send_errors.push_back(QueueError::Gone(error()));
            }
            _ => {}
        }
    }

    /// What the owner of the machine does to the card, and the driver's ways to give up.
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
            _ => {}
        }
    }

    /// One turn of each worker, which is bounded, and after which frames that went out are as the
    /// driver may send them.
    fn settle(&mut self) {
        let calls = |scene: &Scene| (scene.sends, scene.recvs);
        let (sends, recvs) = calls(&self.stage.scene());
        self.net.settle();
        let (now_sends, now_recvs) = calls(&self.stage.scene());
        assert!(now_sends - sends <= TURN && now_recvs - recvs <= TURN, "an endless turn");
        self.stage.take_sent().iter().for_each(|frame| self.check_sent(frame));
        while let Some(frame) = self.cable.take() {
            self.check_sent(&frame);
        }
    }

    fn check_sent(&self, frame: &WireFrame) {
        let WireFrame { meta, bytes } = frame;
        assert!((MIN_FRAME..=MAX_FRAME).contains(&bytes.len()), "{} bytes", bytes.len());
        let negotiated = HOST.iter().filter(|(bit, _)| self.negotiated >> bit & 1 != 0);
        let allowed = negotiated.fold(Offloads::empty(), |all, (_, one)| all | *one);
        assert!(allowed.contains(meta.needs()), "{meta:?} was not negotiated");
        match meta.csum {
            Csum::Unknown => assert_eq!(meta.gso, None),
            Csum::Valid => panic!("a driver cannot vouch for a checksum"),
            Csum::Needed { start, offset } => {
                let end = usize::from(start) + usize::from(offset) + 2;
                assert!(end <= bytes.len(), "a checksum past the end");
            }
        }
        if let Some(gso) = meta.gso {
            assert!(gso.segment > 0 && usize::from(gso.headers) <= bytes.len(), "{gso:?}");
        }
    }

    /// After a reset the card leaves memory alone; then a good driver has a card that works.
    fn check_recovery(&mut self) {
        if self.stopped {
            self.live(0);
        }
        if !self.bus_master {
            self.live(1);
        }
        self.structures.set_status(self, 0);
        assert_eq!(self.structures.status(self), 0);
        self.writes.iter().for_each(|writes| writes.lock().unwrap().clear());
        *self.stage.scene() = Scene::default();
        self.cable.clear();
        let frame = WireFrame::from(vec![0xff; 64]);
        self.cable.bring(&frame);
        self.stage.bring(frame);
        let [mut before, mut after] = std::mem::take(&mut self.copies);
        copy_to(&self.memory, &mut before);
        (0..QUEUES).for_each(|queue| self.structures.kick(self, queue));
        self.settle();
        self.settle();
        copy_to(&self.memory, &mut after);
        assert!(before == after, "a card that was reset wrote to memory");
        self.copies = [before, after];
        self.stage.scene().incoming.clear();
        self.cable.clear();
        if !self.spoiled {
            self.check_traffic();
            self.structures.set_status(self, 0);
        }
    }

    fn check_traffic(&mut self) {
        clear(&self.memory);
        self.queues = std::array::from_fn(|queue| Queue::new(queue as u16));
        self.start(CTRL | MQ | MRG_RXBUF | EVENT_IDX, 0x1f);
        let rings = self.queues.map(|Queue { rings, .. }| {
            DriverRing::new(&self.memory, rings.descriptors, rings.size, true)
        });
        let [mut rx, mut tx, _, mut second_tx, mut control] = rings;
        const FRAME: u64 = 0x2_0000;
        const ROOM: u64 = 0x2_1000;
        const REQUEST: u64 = 0x2_2000;

        self.write(FRAME + 12, &[0xff; 60]);
        tx.offer(&[readable(FRAME, 72)]);
        second_tx.offer(&[readable(FRAME, 72)]);
        rx.offer(&[writable(ROOM, 2048)]);
        // Promiscuous mode on.
        self.write(REQUEST, &[0, 0, 1, 0xee]);
        control.offer(&[readable(REQUEST, 3), writable(REQUEST + 3, 1)]);
        [0, 1, 3, 4].into_iter().for_each(|queue| self.structures.kick(self, queue));
        self.stage.bring(vec![0xff; 64]);
        self.net.settle();

        let frame = WireFrame::from(vec![0xff; 60]);
        assert_eq!(self.stage.take_sent(), std::slice::from_ref(&frame), "a frame was not sent");
        assert_eq!(self.cable.take(), Some(frame), "a frame was not written");
        assert!(tx.take().and(second_tx.take()).is_some(), "a buffer did not come back");
        assert_eq!(rx.take().map(|(_, len)| len), Some(76), "a frame was not received");
        let mut status = [0];
        self.memory.read_slice(&mut status, GuestAddress(REQUEST + 3)).expect("in memory");
        assert_eq!((control.take().map(|(_, len)| len), status), (Some(1), [0]), "no answer");
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
        let mut input = Input(bytes);
        while let Some(step) = Step::read(&mut input) {
            machine.apply(step);
        }
        machine.check_recovery();
        // What a reset of the card cannot mend ends with the input.
        *kept = Some(machine).filter(|machine| !machine.spoiled);
    });
}

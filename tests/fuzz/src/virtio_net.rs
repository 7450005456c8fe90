//! A virtio network card behind its transport: rings, headers and commands of any kind, frames and
//! errors of its backend, and a good driver afterwards.
//!
//! Lane 0 has the scripted backend, which can fail in every way; lane 1 has a TAP's queue over a
//! socket, so that what is fuzzed holds the system calls too.
//!
//! No thread takes part: [`Machine::settle`] gives each of the card's workers one turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, OnceLock};

use device_core::GuestRam;
use device_core::bus::Bus;
use device_core::bus::Width;
use device_core::device::Device;
use device_core::interrupt::{MsiMessage, MsiSet, Route};
use device_core::testing::TestMachine;
use device_core::worker::Threads;
use net::backend::script::{Scene, Stage, WireFrame, stage};
use net::backend::{NetQueue, QueueError, Room, tap, vnet_hdr};
use net::frame::{Csum, FrameMeta, Gso, GsoKind, MAX_FRAME, MIN_FRAME, Offloads, RxFrame, TxFrame};
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
use crate::input::{Input, Output, width, width_bits};
use crate::memory::{clear, copy_to, moated_ram};

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

/// One thing that happens to the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Where and how large a queue is from the next `Start` on.
    Place {
        queue: u8,
        size: u16,
        descriptors: u32,
        available: u32,
        used: u32,
    },
    /// Reset to DRIVER_OK with these features, as far as offered, and the queues of this set.
    Start {
        features: u64,
        queues: u8,
    },
    Describe {
        queue: u8,
        index: u16,
        descriptor: Descriptor,
    },
    /// Puts a head on the available ring and shows it.
    Offer {
        queue: u8,
        head: u16,
    },
    SetAvailable {
        queue: u8,
        index: u16,
    },
    /// What the driver says about interrupts: the flags and the event field.
    SetEvent {
        queue: u8,
        flags: u16,
        event: u16,
    },
    WriteMemory {
        address: u32,
        bytes: Vec<u8>,
    },
    /// The same, but while the next frame is on its way.
    Meddle {
        lane: u8,
        address: u32,
        bytes: Vec<u8>,
    },
    Kick {
        queue: u8,
    },
    Settle,
    /// A frame behind a header, in one buffer.
    Send {
        queue: u8,
        header: [u8; 12],
        len: u16,
    },
    /// Receive buffers.
    Post {
        queue: u8,
        count: u8,
        len: u16,
    },
    Command {
        queue: u8,
        class: u8,
        command: u8,
        data: Vec<u8>,
    },
    /// A frame comes from the host.
    Bring {
        lane: u8,
        kind: u8,
        len: u16,
        start: u16,
        offset: u16,
        segment: u16,
    },
    /// What lane 0's backend does from now on, or to the next frame; see [`Machine::play`].
    Backend {
        event: u8,
    },
    /// Owner and driver; see [`Machine::live`].
    Life {
        event: u8,
    },
    WriteRegister {
        offset: u8,
        width: Width,
        value: u32,
    },
    ReadDevice {
        offset: u8,
        width: Width,
    },
}

impl Step {
    fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let queue = (kind >> 5) % QUEUES as u8;
        let lane = queue % PAIRS as u8;
        Some(match kind & 0x1f {
            0 => Step::Place {
                queue,
                size: input.u16()?,
                descriptors: input.u32()?,
                available: input.u32()?,
                used: input.u32()?,
            },
            1 => Step::Start { features: input.u64()?, queues: input.u8()? },
            2 => Step::Describe {
                queue,
                index: input.u16()?,
                descriptor: Descriptor {
                    addr: i64::from(input.u32()?.cast_signed()).cast_unsigned(),
                    len: input.u32()?,
                    flags: input.u16()?,
                    next: input.u16()?,
                },
            },
            3 => Step::Offer { queue, head: input.u16()? },
            4 => Step::SetAvailable { queue, index: input.u16()? },
            5 => Step::SetEvent { queue, flags: input.u16()?, event: input.u16()? },
            6 => Step::WriteMemory { address: input.u32()?, bytes: short_bytes(input)? },
            7 => Step::Meddle { lane, address: input.u32()?, bytes: short_bytes(input)? },
            8 => Step::Kick { queue },
            9 => Step::Settle,
            10 => Step::Send { queue, header: input.array()?, len: input.u16()? },
            11 => Step::Post { queue, count: input.u8()?, len: input.u16()? },
            12 => Step::Command {
                queue,
                class: input.u8()?,
                command: input.u8()?,
                data: short_bytes(input)?,
            },
            13 => Step::Bring {
                lane,
                kind: input.u8()?,
                len: input.u16()?,
                start: input.u16()?,
                offset: input.u16()?,
                segment: input.u16()?,
            },
            14 => Step::Backend { event: input.u8()? },
            15 => Step::Life { event: input.u8()? },
            16 => Step::WriteRegister {
                width: width(queue),
                offset: input.u8()?,
                value: input.u32()?,
            },
            17 => Step::ReadDevice { width: width(queue), offset: input.u8()? },
            _ => Step::Settle,
        })
    }

    pub fn write(&self, output: &mut Output) {
        match self {
            Step::Place { queue, size, descriptors, available, used } => {
                head(output, 0, *queue).u16(*size).u32(*descriptors).u32(*available).u32(*used);
            }
            Step::Start { features, queues } => {
                head(output, 1, 0).u64(*features).u8(*queues);
            }
            Step::Describe { queue, index, descriptor: Descriptor { addr, len, flags, next } } => {
                head(output, 2, *queue)
                    .u16(*index)
                    .u32(*addr as u32)
                    .u32(*len)
                    .u16(*flags)
                    .u16(*next);
            }
            Step::Offer { queue, head: first } => {
                head(output, 3, *queue).u16(*first);
            }
            Step::SetAvailable { queue, index } => {
                head(output, 4, *queue).u16(*index);
            }
            Step::SetEvent { queue, flags, event } => {
                head(output, 5, *queue).u16(*flags).u16(*event);
            }
            Step::WriteMemory { address, bytes } => {
                head(output, 6, 0).u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Meddle { lane, address, bytes } => {
                head(output, 7, *lane).u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Kick { queue } => {
                head(output, 8, *queue);
            }
            Step::Settle => {
                head(output, 9, 0);
            }
            Step::Send { queue, header, len } => {
                head(output, 10, *queue).bytes(header).u16(*len);
            }
            Step::Post { queue, count, len } => {
                head(output, 11, *queue).u8(*count).u16(*len);
            }
            Step::Command { queue, class, command, data } => {
                head(output, 12, *queue).u8(*class).u8(*command).u8(data.len() as u8).bytes(data);
            }
            Step::Bring { lane, kind, len, start, offset, segment } => {
                head(output, 13, *lane).u8(*kind).u16(*len).u16(*start).u16(*offset).u16(*segment);
            }
            Step::Backend { event } => {
                head(output, 14, 0).u8(*event);
            }
            Step::Life { event } => {
                head(output, 15, 0).u8(*event);
            }
            Step::WriteRegister { offset, width, value } => {
                head(output, 16, width_bits(*width)).u8(*offset).u32(*value);
            }
            Step::ReadDevice { offset, width } => {
                head(output, 17, width_bits(*width)).u8(*offset);
            }
        }
    }
}

/// The byte of a step's kind, with a queue, lane or width.
fn head(output: &mut Output, kind: u8, high: u8) -> &mut Output {
    output.u8(kind | high << 5)
}

fn short_bytes(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let count = input.u8()?;
    Some(input.bytes(count.into()).to_vec())
}

/// A queue of a backend, during whose calls the guest writes to its memory.
struct Meddled {
    queue: Box<dyn NetQueue>,
    memory: GuestRam,
    writes: Arc<Mutex<Writes>>,
}

type Writes = VecDeque<(u32, Vec<u8>)>;

impl Meddled {
    fn meddle(&self) {
        if let Some((address, bytes)) = self.writes.lock().unwrap().pop_front() {
            // Outside of RAM a guest's write goes nowhere.
            let _ = self.memory.write_slice(&bytes, GuestAddress(address.into()));
        }
    }
}

impl NetQueue for Meddled {
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        self.meddle();
        self.queue.send(frame)
    }
    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        self.meddle();
        self.queue.recv(room, frame)
    }
    fn enable(&mut self, on: bool) -> io::Result<()> {
        self.queue.enable(on)
    }
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.poll_fd()
    }
}

/// Both ends of the cable of lane 1.
struct Cable {
    host: UnixDatagram,
    card: UnixDatagram,
    /// For a frame of any length.
    room: Vec<u8>,
}

impl Cable {
    fn new() -> io::Result<Cable> {
        let (host, card) = UnixDatagram::pair()?;
        host.set_nonblocking(true)?;
        card.set_nonblocking(true)?;
        Ok(Cable { host, card, room: vec![0; vnet_hdr::LEN + MAX_FRAME + 1] })
    }

    /// The card's end as the file of a TAP.
    fn queue(&self) -> io::Result<tap::Queue> {
        Ok(tap::Queue::new(File::from(OwnedFd::from(self.card.try_clone()?)), false))
    }

    fn bring(&self, frame: &WireFrame) {
        let header = vnet_hdr::encode(&frame.meta, 0);
        // A full cable loses frames.
        let _ = self.host.send(&[&header[..], &frame.bytes].concat());
    }

    /// The next frame at the host's end, with its header.
    fn take(&mut self) -> Option<WireFrame> {
        let len = self.host.recv(&mut self.room).ok()?;
        let (header, frame) = self.room[..len].split_first_chunk().expect("a frame has a header");
        let meta = vnet_hdr::decode(header, frame.len()).expect("a header that makes sense");
        Some(WireFrame { meta, bytes: frame.to_vec() })
    }

    fn clear(&mut self) {
        for end in [&self.host, &self.card] {
            while end.recv(&mut self.room).is_ok() {}
        }
    }
}

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

/// A frame as a TAP may bring it.
fn frame(kind: u8, len: u16, start: u16, offset: u16, segment: u16) -> WireFrame {
    let csum = match kind & 3 {
        0 => Csum::Unknown,
        1 => Csum::Valid,
        _ => Csum::Needed { start, offset },
    };
    let gso = |kind| Gso { kind, ecn: start & 1 != 0, segment, headers: offset };
    let gso = match kind >> 2 & 7 {
        0 => Some(gso(GsoKind::Tcp4)),
        1 => Some(gso(GsoKind::Tcp6)),
        2 => Some(gso(GsoKind::Udp)),
        _ => None,
    };
    // To a group for some, to the card itself for the others.
    let to = if kind & 0x40 != 0 { [1, 0, 0x5e, 0, 0, 1] } else { MAC.0 };
    let to = if kind & 0x80 != 0 { [0xff; 6] } else { to };
    let mut bytes = vec![0x11; usize::from(len)];
    bytes.iter_mut().zip(to).for_each(|(byte, to)| *byte = to);
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes }
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

//! A vsock between a driver that writes anything and peers on the host that do anything, and a good driver and peer
//! afterwards.
//!
//! No thread takes part: [`Machine::settle`] gives the device some turns.

mod step;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use device_core::GuestRam;
use device_core::interrupt::{MsiSet, Route};
use device_core::testing::{TestMachine, TestMsiSet};
use device_core::worker::Threads;
use tempfile::TempDir;
use virtio::device::{LiveQueue, VirtioDevice};
use virtio::testing::nic::TestNotice;
use virtio::testing::ring::{Descriptor, DriverRing, WRITE, readable, writable};
use virtio::testing::vsock::{CID, RING};
use virtio::vsock::{
    HEADER_LEN, HOST_CID, Header, MOST_CONNECTIONS, Op, OpenVsock, STREAM, Vsock, VsockControl,
    VsockSpec,
};
use vm_memory::{Bytes, GuestAddress};

use crate::input::Input;
use crate::memory::{clear, copy_to, moated_ram};

pub use step::{Packet, Step};

const RAM: [(u64, usize); 2] = [(0, 0x8_0000), (0x10_0000, 0x2_0000)];
pub const QUEUES: u16 = 3;
/// Where rings are; buffers go behind.
const RINGS_AT: u64 = 0x1000;
const BUFFERS_AT: u64 = RINGS_AT + QUEUES as u64 * DriverRing::bytes(RING);
const BUFFERS_END: u64 = 0x7_0000;
/// The port that somebody on the host listens at.
pub const LISTENS: u8 = 9;
/// Ports that the host gives to its clients begin here.
const CLIENTS: u32 = 1 << 30;
/// Peers on the host of each kind at one time.
const PEERS: usize = 8;
/// Most that waits for one slow reader.
const MOST_WAITING: u64 = 256 << 10;

/// The driver's own notes on a queue.
#[derive(Clone, Copy, Default)]
struct Queue {
    offered: u16,
    next_descriptor: u16,
}

/// A vsock, its memory, and the peers on the host.
pub struct Machine {
    memory: GuestRam,
    device: Arc<Vsock>,
    vectors: Arc<TestMsiSet>,
    folder: TempDir,
    listener: UnixListener,
    clients: Vec<UnixStream>,
    accepted: Vec<UnixStream>,
    rings: Vec<DriverRing>,
    features: u64,
    notes: [Queue; QUEUES as usize],
    next_buffer: u64,
    /// The queues are home: the machine is paused, or no driver has begun.
    home: Option<Vec<LiveQueue>>,
    copies: [Vec<u8>; 2],
}

impl Machine {
    pub fn new() -> Machine {
        static MEMORY: OnceLock<GuestRam> = OnceLock::new();
        let memory = MEMORY.get_or_init(|| moated_ram(&RAM)).clone();
        let mut machine = TestMachine::new(memory.clone());
        machine.threads = Threads::by_hand().expect("an epoll");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("v");
        let listener = UnixListener::bind(folder.path().join(format!("v_{LISTENS}")));
        let listener = listener.expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        // A socket that is closed leaves its path for handlers of signals, which is no leak; it stays open instead.
        static OPEN: OnceLock<OpenVsock> = OnceLock::new();
        let open = OpenVsock::open(VsockSpec { cid: CID, path }).expect("a socket");
        let open = OPEN.get_or_init(|| open);
        let device = Vsock::build(open, &machine.kit()).expect("a device");
        let vectors = TestMsiSet::new(QUEUES);
        let routes = [0, 1, 2].map(|index| Route { index, to: Some(Default::default()) });
        vectors.route(&routes).expect("vectors");
        Machine {
            memory,
            device,
            vectors,
            folder,
            listener,
            clients: Vec::new(),
            accepted: Vec::new(),
            rings: Vec::new(),
            features: 0,
            notes: Default::default(),
            next_buffer: BUFFERS_AT,
            home: None,
            copies: Default::default(),
        }
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Start { features } => self.start(features),
            Step::Describe { queue, index, descriptor } => self.describe(queue, index, descriptor),
            Step::Offer { queue, head } => self.offer(queue, head),
            Step::SetAvailable { queue, index } => self.set_available(queue, index),
            Step::WriteMemory { address, bytes } => self.write(address.into(), &bytes),
            Step::Settle => self.settle(),
            Step::Post { queue, count, len } => {
                for _ in 0..count.min(16) {
                    let at = self.buffer(len.into());
                    self.offer_buffers(queue, &[(at, len.into(), WRITE)]);
                }
            }
            Step::Packet(packet) => self.send(packet),
            Step::Client { event, value } => self.play(event, value),
            Step::Listener { event, value } => self.listen(event, value),
            Step::Life { event } => self.live(event),
        }
    }

    fn ring(&self, queue: u16) -> DriverRing {
        let at = RINGS_AT + u64::from(queue) * DriverRing::bytes(RING);
        DriverRing::new(&self.memory, at, RING, self.features & EVENT_IDX != 0)
    }

    fn start(&mut self, features: u8) {
        drop(self.device.unplug());
        self.device.reset();
        self.features = 0;
        for (bit, feature) in [(1, EVENT_IDX), (2, INDIRECT)] {
            self.features |= if features & bit != 0 { feature } else { 0 };
        }
        let zeroes = vec![0; (BUFFERS_AT - RINGS_AT) as usize];
        self.write(RINGS_AT, &zeroes);
        self.notes = Default::default();
        self.rings = (0..QUEUES).map(|queue| self.ring(queue)).collect();
        self.home = None;
        let live = (0..)
            .zip(&self.rings)
            .map(|(index, ring)| ring.live(index, self.vectors.vector(index)));
        self.plug(live.collect());
    }

    fn plug(&self, queues: Vec<LiveQueue>) {
        // Rings that a step has broken are refused, and lost.
        let _ = self.device.plug(self.features, queues, Arc::new(TestNotice::default()));
    }

    /// Bytes of guest memory, if there is such memory.
    fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }

    fn table(queue: u8) -> u64 {
        RINGS_AT + u64::from(queue) * DriverRing::bytes(RING)
    }

    fn describe(&mut self, queue: u8, index: u16, descriptor: Descriptor) {
        let Descriptor { addr, len, flags, next } = descriptor;
        let mut bytes = crate::input::Output::default();
        bytes.u64(addr).u32(len).u16(flags).u16(next);
        self.write(Self::table(queue) + u64::from(index) * 16, &bytes.0);
    }

    fn offer(&mut self, queue: u8, head: u16) {
        let notes = &mut self.notes[usize::from(queue)];
        let slot = notes.offered % RING;
        notes.offered = notes.offered.wrapping_add(1);
        let offered = notes.offered;
        self.write(Self::table(queue) + 0x1000 + 4 + u64::from(slot) * 2, &head.to_le_bytes());
        self.set_available(queue, offered);
    }

    fn set_available(&mut self, queue: u8, index: u16) {
        self.write(Self::table(queue) + 0x1000 + 2, &index.to_le_bytes());
        if let Some(ring) = self.rings.get(usize::from(queue)) {
            ring.force_kick();
        }
    }

    /// Puts buffers on offer as one chain of the next descriptors.
    fn offer_buffers(&mut self, queue: u8, buffers: &[(u64, u32, u16)]) {
        let first = self.notes[usize::from(queue)].next_descriptor;
        let index = |nth: u16| first.wrapping_add(nth) % RING;
        let last = buffers.len() as u16 - 1;
        for (nth, &(addr, len, flags)) in (0..).zip(buffers) {
            let (more, next) = if nth < last { (1, index(nth + 1)) } else { (0, 0) };
            self.describe(queue, index(nth), Descriptor { addr, len, flags: flags | more, next });
        }
        self.notes[usize::from(queue)].next_descriptor = index(last + 1);
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

    fn send(&mut self, packet: Packet) {
        let len = u32::from(packet.len);
        let host = u32::from(packet.host) + if packet.of_client { CLIENTS } else { 0 };
        let header = Header {
            src_cid: u64::from(CID).wrapping_add(packet.from.into()),
            dst_cid: HOST_CID.wrapping_add(packet.to.into()),
            src_port: packet.port.into(),
            dst_port: host,
            len: len.wrapping_add(packet.lie.into()),
            kind: packet.kind.into(),
            op: packet.op.into(),
            flags: packet.flags.into(),
            buf_alloc: packet.room,
            fwd_cnt: packet.passed_on,
        };
        let at = self.buffer(u64::from(len) + HEADER_LEN as u64);
        self.write(at, &header.bytes());
        let data = at + HEADER_LEN as u64;
        let buffers = [(at, HEADER_LEN as u32, 0), (data, len, 0)];
        self.offer_buffers(1, if len == 0 { &buffers[..1] } else { &buffers });
    }

    /// What a client of the socket does.
    fn play(&mut self, event: u8, value: u16) {
        match event {
            0 if self.clients.len() < PEERS => {
                let Ok(mut client) = UnixStream::connect(self.folder.path().join("v")) else {
                    return;
                };
                client.set_nonblocking(true).expect("a socket");
                // Without its end, if the value is odd.
                let line = format!("CONNECT {}", value >> 1);
                let _ = client.write(line.as_bytes());
                if value & 1 == 0 {
                    let _ = client.write(b"\n");
                }
                self.clients.push(client);
            }
            _ => peer(&mut self.clients, event, value),
        }
    }

    /// What who listens for the guest does.
    fn listen(&mut self, event: u8, value: u16) {
        match event {
            0 if self.accepted.len() < PEERS => {
                let Ok((stream, _)) = self.listener.accept() else { return };
                stream.set_nonblocking(true).expect("a socket");
                self.accepted.push(stream);
            }
            _ => peer(&mut self.accepted, event, value),
        }
    }

    /// What the owner of the machine does, the driver's reset, and the passing of time.
    fn live(&mut self, event: u8) {
        match event {
            0 => match self.home.take() {
                Some(queues) => self.plug(queues),
                None => self.home = Some(self.device.unplug()).filter(|queues| !queues.is_empty()),
            },
            1 => self.device.reset_connections(),
            2 => self.device.pass_time(Duration::from_millis(2100)),
            3 => self.device.pass_time(Duration::from_secs(61)),
            4 => {
                drop(self.device.unplug());
                self.device.reset();
                self.home = None;
            }
            _ => {
                self.device.read_config(event.into(), device_core::bus::Width::B4);
            }
        }
    }

    /// Some turns of the device, after which nothing has grown beyond its bounds.
    fn settle(&mut self) {
        (0..4).for_each(|_| self.device.settle());
        let view = self.device.view();
        assert!(view.connections.len() <= MOST_CONNECTIONS);
        for connection in &view.connections {
            assert!(connection.waiting <= MOST_WAITING, "{connection:?}");
        }
    }

    /// After a reset the device leaves memory alone; then a good driver and a good client have a connection.
    fn check_recovery(&mut self) {
        self.clients.clear();
        self.accepted.clear();
        while self.listener.accept().is_ok() {}
        drop(self.device.unplug());
        self.device.reset();
        self.home = None;
        assert_eq!(self.device.view().connections, [], "a reset ends all");
        let [mut before, mut after] = std::mem::take(&mut self.copies);
        copy_to(&self.memory, &mut before);
        self.rings.iter().for_each(DriverRing::force_kick);
        self.settle();
        copy_to(&self.memory, &mut after);
        assert!(before == after, "a device that was reset wrote to memory");
        self.copies = [before, after];
        self.check_connection();
    }

    fn check_connection(&mut self) {
        clear(&self.memory);
        self.next_buffer = BUFFERS_AT;
        self.start(1);
        let mut rings = std::mem::take(&mut self.rings);
        const RECEIVED: u64 = BUFFERS_AT;
        const SENT: u64 = BUFFERS_AT + 0x1000;
        for nth in 0..8 {
            rings[0].offer(&[writable(RECEIVED + nth * 0x100, 0x100)]);
        }
        rings[0].force_kick();
        // Clients of before come first, and have gone.
        self.settle();
        let _ = rings[0].take_all();
        for nth in 8..16 {
            rings[0].offer(&[writable(RECEIVED + nth * 0x100, 0x100)]);
        }
        let mut client = UnixStream::connect(self.folder.path().join("v")).expect("a socket");
        client.set_nonblocking(true).expect("a socket");
        client.write_all(b"CONNECT 7\nhello").expect("room");
        rings[0].force_kick();
        self.settle();
        let mut request = None;
        for (head, _) in rings[0].take_all() {
            let at = u64::from(head_place(&self.memory, &rings[0], head));
            let header = self.header(at);
            if header.op == Op::Request as u16 && header.dst_port == 7 {
                request = Some(header);
            }
        }
        let host = request.expect("a request").src_port;
        let response = Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: 7,
            dst_port: host,
            kind: STREAM,
            op: Op::Response as u16,
            buf_alloc: 0x1000,
            ..Header::default()
        };
        self.write(SENT, &response.bytes());
        rings[1].offer(&[readable(SENT, HEADER_LEN as u32)]);
        rings[1].force_kick();
        self.settle();
        let mut said = [0; 64];
        let count = client.read(&mut said).expect("a word");
        assert_eq!(&said[..count], format!("OK {host}\n").as_bytes());
        let data: Vec<_> = rings[0].take_all();
        let (head, len) = *data.last().expect("data");
        assert_eq!(len as usize, HEADER_LEN + 5);
        let at = u64::from(head_place(&self.memory, &rings[0], head));
        let mut hello = [0; 5];
        let data_at = GuestAddress(at + HEADER_LEN as u64);
        self.memory.read_slice(&mut hello, data_at).expect("in memory");
        assert_eq!(&hello, b"hello");
        drop(self.device.unplug());
        self.device.reset();
    }

    fn header(&self, at: u64) -> Header {
        let mut bytes = [0; HEADER_LEN];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).expect("in memory");
        Header::parse(&bytes)
    }
}

/// Where the buffer of a chain of one is.
fn head_place(memory: &GuestRam, ring: &DriverRing, head: u16) -> u32 {
    let at = GuestAddress(ring.descriptors + u64::from(head) * 16);
    let place: u64 = memory.read_obj(at).expect("in memory");
    u32::try_from(place).expect("below 4 GiB")
}

/// What a peer does that there is: writes, reads, ends one direction or both.
fn peer(peers: &mut Vec<UnixStream>, event: u8, value: u16) {
    let Some(nth) = usize::from(value & 7).checked_rem(peers.len()) else { return };
    let mut bytes = vec![0x5a; usize::from(value)];
    let stream = &mut peers[nth];
    match event {
        1 => drop(stream.write(&bytes)),
        2 => drop(stream.read(&mut bytes)),
        3 => drop(stream.shutdown(Shutdown::Write)),
        4 => drop(stream.shutdown(Shutdown::Read)),
        5 => drop(peers.swap_remove(nth)),
        _ => {}
    }
}

const EVENT_IDX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;

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
        let machine = kept.get_or_insert_with(Machine::new);
        clear(&machine.memory);
        machine.next_buffer = BUFFERS_AT;
        let mut input = Input(bytes);
        while let Some(step) = Step::read(&mut input) {
            machine.apply(step);
        }
        machine.check_recovery();
    });
}

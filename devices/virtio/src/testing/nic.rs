//! A small virtio-net driver: plugs a card's queues, posts buffers, sends, receives, commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use device_core::GuestRam;
use device_core::interrupt::MsiSet;
use device_core::testing::{TestMachine, TestMsiSet, ram};
use net::backend::script::{Stage, stage};
use net::backend::{Limits, NetQueue};
use net::frame::Offloads;
use net::mac::MacAddr;
use net::port::NetPort;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use vm_memory::{Bytes, GuestAddress};

use super::ring::{DriverRing, readable, writable};
use crate::device::{LiveQueue, Notice, VirtioDevice};
use crate::net::Net;

/// Size of the rings, as the card's.
pub const RING: u16 = 256;
const RING_BYTES: u64 = DriverRing::bytes(RING);
const HEADER: u32 = 12;
/// Where rings, then buffers, lie in memory.
const RINGS_AT: u64 = 0x1_0000;
const BUFFERS_AT: u64 = 0x40_0000;
const MEMORY: usize = 0x200_0000;

/// INDIRECT_DESC (virtio 1.2, 6).
pub const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// MRG_RXBUF; this and the following are features of a network card (virtio 1.2, 5.1.3).
pub const MRG_RXBUF: u64 = 1 << 15;
/// CTRL_VQ, CTRL_RX, CTRL_RX_EXTRA, CTRL_MAC_ADDR.
pub const CTRL: u64 = 1 << 17 | 1 << 18 | 1 << 20 | 1 << 23;
/// MQ: more than one pair of queues.
pub const MQ: u64 = 1 << 22;
/// RSS.
pub const RSS: u64 = 1 << 60;
/// HASH_REPORT.
pub const HASH_REPORT: u64 = 1 << 57;
/// CTRL_GUEST_OFFLOADS.
pub const GUEST_OFFLOADS: u64 = 1 << 2;
/// CSUM, HOST_TSO4, HOST_TSO6, HOST_USO.
pub const TX_OFFLOADS: u64 = 1 | 1 << 11 | 1 << 12 | 1 << 56;
/// GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_USO4, GUEST_USO6.
pub const RX_OFFLOADS: u64 = 1 << 1 | 1 << 7 | 1 << 8 | 1 << 54 | 1 << 55;

/// The card's address.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// What a card has told its driver besides interrupts of queues.
#[derive(Default)]
pub struct TestNotice {
    config: AtomicU32,
    reset: AtomicU32,
}

impl TestNotice {
    /// How often its configuration changed.
    pub fn config_changes(&self) -> u32 {
        self.config.load(Ordering::SeqCst)
    }

    /// How often it asked to be reset.
    pub fn resets_asked(&self) -> u32 {
        self.reset.load(Ordering::SeqCst)
    }
}

impl Notice for TestNotice {
    fn config_changed(&self) {
        self.config.fetch_add(1, Ordering::SeqCst);
    }
    fn needs_reset(&self) {
        self.reset.fetch_add(1, Ordering::SeqCst);
    }
}

/// The rings of one pair, and their buffers.
pub struct Pair {
    /// The ring that receives.
    pub rx: DriverRing,
    /// The ring that sends.
    pub tx: DriverRing,
}

/// A card, its driver, and the other end of its cable.
pub struct Nic {
    /// What the card was built with.
    pub machine: TestMachine,
    /// The guest's memory, with all rings and buffers.
    pub memory: GuestRam,
    /// The card, without a transport.
    pub net: Arc<Net>,
    /// What the card has told.
    pub notice: Arc<TestNotice>,
    /// Two for each pair, those of its receive and send rings, and one for the control ring.
    pub vectors: Arc<TestMsiSet>,
    /// The other end of each lane, if the backend is scripted.
    pub stages: Vec<Stage>,
    /// The rings of each pair.
    pub pairs: Vec<Pair>,
    /// The control ring, plugged if [`CTRL`] was negotiated.
    pub control: DriverRing,
    features: u64,
    next_buffer: u64,
}

/// Limits of a backend that can do everything.
pub const ABLE: Limits = Limits { tx: Offloads::all(), rx: Offloads::all(), mtu: Some(1500) };

impl Nic {
    /// A card of one pair on a scripted backend, its driver not yet loaded.
    pub fn new() -> Nic {
        Nic::with(1, ABLE, true)
    }

    /// A card of `pairs` pairs; rings with or without EVENT_IDX.
    pub fn with(pairs: u16, limits: Limits, event_idx: bool) -> Nic {
        let (backend, queues, stages) = stage(pairs, limits).unwrap();
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
        let machine = TestMachine::new(ram(MEMORY));
        let port =
            NetPort::with_backend("test", Box::new(backend), queues.collect(), &machine.kit());
        let net = Net::on_port("test", MAC, port.unwrap(), &machine.kit());
        Nic::of(machine, net, stages, pairs, event_idx)
    }

    /// A driver for a card built by the caller; the memory is the machine's, at least 32 MiB.
    pub fn of(
        machine: TestMachine,
        net: Arc<Net>,
        stages: Vec<Stage>,
        pairs: u16,
        event_idx: bool,
    ) -> Nic {
        let memory = machine.memory.clone();
        let mut at = RINGS_AT;
        let mut ring = |size| {
            let ring = DriverRing::new(&memory, at, size, event_idx);
            at += RING_BYTES;
            ring
        };
        let lanes = (0..pairs).map(|_| Pair { rx: ring(RING), tx: ring(RING) }).collect();
        let control = ring(64);
        let vectors = TestMsiSet::new(2 * pairs + 1);
        let routes: Vec<_> = (0..vectors.count())
            .map(|index| device_core::interrupt::Route { index, to: Some(Default::default()) })
            .collect();
        vectors.route(&routes).unwrap();
        Nic {
            memory: memory.clone(),
            machine,
            net,
            notice: Arc::default(),
            vectors,
            stages,
            pairs: lanes,
            control,
            features: 0,
            next_buffer: BUFFERS_AT,
        }
    }

    /// Loads the driver: plugs all queues with these features.
    pub fn start(&mut self, features: u64) {
        self.features = features;
        let queues = self.live();
        self.net.plug(features, queues, self.notice.clone()).unwrap();
        self.settle();
    }

    /// The device's halves of all rings, from their beginning.
    pub fn live(&self) -> Vec<LiveQueue> {
        let mut queues = Vec::new();
        let vector = |index| self.vectors.vector(index);
        let with_control = self.features & CTRL != 0;
        for (pair, at) in self.pairs.iter().zip((0u16..).step_by(2)) {
            queues.push(pair.rx.live(at, vector(at)));
            queues.push(pair.tx.live(at + 1, vector(at + 1)));
        }
        if with_control {
            let pairs = if self.features & (MQ | RSS) != 0 { self.pairs.len() as u16 } else { 1 };
            queues.truncate(2 * usize::from(pairs));
            queues.push(self.control.live(2 * pairs, vector(2 * pairs)));
        }
        queues
    }

    /// Returns after all that is ready now has been done.
    pub fn settle(&self) {
        self.net.settle();
    }

    /// Zeroed guest memory not used before.
    pub fn buffer(&mut self, len: u32) -> u64 {
        let at = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(64);
        assert!(self.next_buffer <= MEMORY as u64, "the test uses too much memory");
        at
    }

    /// Writes `bytes` to guest memory at `at`.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Reads `len` bytes of guest memory at `at`.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Offers a frame in one buffer behind a header; returns where the header lies.
    pub fn offer_frame(&mut self, pair: usize, header: &[u8; 12], frame: &[u8]) -> u64 {
        let len = HEADER + frame.len() as u32;
        let at = self.buffer(len);
        self.write(at, header);
        self.write(at + u64::from(HEADER), frame);
        self.pairs[pair].tx.offer(&[readable(at, len)]);
        at
    }

    /// Sends a frame without offloads on pair 0.
    pub fn send(&mut self, frame: &[u8]) {
        self.offer_frame(0, &[0; 12], frame);
        self.pairs[0].tx.kick();
        self.settle();
    }

    /// Posts `count` receive buffers of `len` bytes each on `pair`; returns where they lie.
    pub fn post(&mut self, pair: usize, count: usize, len: u32) -> Vec<(u16, u64)> {
        let posted = (0..count)
            .map(|_| {
                let at = self.buffer(len);
                (self.pairs[pair].rx.offer(&[writable(at, len)]), at)
            })
            .collect();
        self.pairs[pair].rx.kick();
        self.settle();
        posted
    }

    /// Runs a control command; its status, or `None` if there was no answer.
    pub fn command(&mut self, class: u8, command: u8, data: &[u8]) -> Option<u8> {
        let (request, reply) = (self.buffer(2 + data.len() as u32), self.buffer(1));
        self.write(request, &[class, command]);
        self.write(request + 2, data);
        self.write(reply, &[0xee]);
        let chain =
            [readable(request, 2), readable(request + 2, data.len() as u32), writable(reply, 1)];
        self.control.offer(&chain);
        self.control.kick();
        self.settle();
        let (_, len) = self.control.take()?;
        (len == 1).then(|| self.read(reply, 1)[0])
    }

    /// The card's counter `name`. Panics if it has none of that name.
    pub fn total(&self, name: &str) -> u64 {
        let totals = self.net.totals();
        totals.iter().find(|(known, _)| *known == name).expect("a known counter").1
    }
}

impl Default for Nic {
    fn default() -> Nic {
        Nic::new()
    }
}

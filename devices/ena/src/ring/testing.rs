//! The driver's half of I/O queues: writes descriptors, rings doorbells, reads completions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use std::sync::{Arc, Mutex};

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::interrupt::{MsiSet, Route};
use device_core::testing::{TestMsiSet, TestVector, ram};
use net::frame::Offloads;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::descriptor::{
    CHECK_HEADER, CHECK_TRANSPORT, COMPLETION, FIRST, L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, LAST, META,
    META_GIVEN, META_STORE, PARTIAL, PHASE, SEGMENT,
};
use super::*;
use crate::quiet::Register;

/// Where things lie in the memory of a [`Queues`].
const SQ_AT: u64 = 0x1_0000;
const CQ_AT: u64 = 0x10_0000;
const BUFFERS_AT: u64 = 0x40_0000;
/// Bytes of that memory.
pub const MEMORY: usize = 0x200_0000;

/// Remembers rings that were given up.
#[derive(Default)]
pub struct TestFaults(Mutex<Vec<(Direction, u16, GuestFault)>>);

impl TestFaults {
    /// Rings given up so far: which, and why.
    pub fn seen(&self) -> Vec<(Direction, u16, GuestFault)> {
        self.0.lock().unwrap().clone()
    }
}

impl FaultSink for TestFaults {
    fn ring_broken(&self, direction: Direction, index: u16, fault: GuestFault) {
        self.0.lock().unwrap().push((direction, index, fault));
    }
}

/// A submission queue's doorbell at 0.
pub fn doorbell() -> Arc<SqDoorbell> {
    Arc::new(SqDoorbell::new(waker()))
}

fn waker() -> EventFd {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap()
}

/// Memory, a vector and a fault sink for one queue of either direction.
pub struct Queues {
    /// The guest's RAM, [`MEMORY`] bytes.
    pub memory: GuestRam,
    /// The vector's end at the guest, which counts.
    pub msi: Arc<TestVector>,
    /// The vector as the card has it.
    pub vector: Arc<Vector>,
    /// Hears of rings given up.
    pub faults: Arc<TestFaults>,
    next_buffer: u64,
}

impl Queues {
    /// Zeroed memory and an open vector.
    pub fn new() -> Queues {
        let set = TestMsiSet::new(1);
        set.route(&[Route { index: 0, to: Some(Default::default()) }]).unwrap();
        Queues {
            memory: ram(MEMORY),
            msi: set.test_vector(0),
            vector: Arc::new(Vector::new(set.vector(0).unwrap(), Register::default())),
            faults: Arc::default(),
            next_buffer: BUFFERS_AT,
        }
    }

    /// Guest memory not used before, with these bytes.
    pub fn buffer(&mut self, bytes: &[u8]) -> u64 {
        let at = self.next_buffer;
        self.next_buffer += (bytes.len() as u64).next_multiple_of(64);
        assert!(self.next_buffer <= MEMORY as u64, "the test uses too much memory");
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        at
    }

    /// Reads `len` bytes of guest memory at `at`.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// What CREATE_SQ would make for transmission, descriptors in RAM.
    pub fn tx_config(&self, depth: u16) -> TxConfig {
        TxConfig {
            index: 0,
            depth,
            placement: Placement::Host { base: SQ_AT },
            completions: CqConfig { base: CQ_AT, depth, entry_words: 2 },
            memory: self.memory.clone(),
            doorbell: doorbell(),
            page: None,
            stamp: Arc::default(),
            vector: Some(self.vector.clone()),
            faults: self.faults.clone(),
            offloads: Offloads::all(),
            max_mtu: 9216,
        }
    }

    /// What CREATE_SQ would make for transmission, descriptors in a window of its own.
    pub fn llq_config(&self, depth: u16, policy: LlqPolicy) -> TxConfig {
        let window = ram(usize::from(depth) * usize::from(policy.entry_size) + 0x2000);
        let placement = Placement::Llq { window, offset: 0x1000, policy };
        TxConfig { placement, ..self.tx_config(depth) }
    }

    /// What CREATE_SQ would make for reception.
    pub fn rx_config(&self, depth: u16) -> RxConfig {
        RxConfig {
            index: 0,
            depth,
            base: SQ_AT,
            completions: CqConfig { base: CQ_AT, depth, entry_words: 4 },
            memory: self.memory.clone(),
            doorbell: Arc::new(RxDoorbell::new(waker(), Register::default())),
            vector: Some(self.vector.clone()),
            faults: self.faults.clone(),
        }
    }
}

impl Default for Queues {
    fn default() -> Queues {
        Queues::new()
    }
}

/// The driver's side of a completion queue.
pub struct CqDriver {
    memory: GuestRam,
    config: CqConfig,
    head: u16,
}

impl CqDriver {
    /// For the ring of `config`, from its first entry on.
    pub fn new(memory: &GuestRam, config: CqConfig) -> CqDriver {
        CqDriver { memory: memory.clone(), config, head: 0 }
    }

    /// The next entry's words, once its phase says that it is there.
    pub fn take(&mut self) -> Option<Vec<u32>> {
        let (depth, words) = (self.config.depth, usize::from(self.config.entry_words));
        let at = self.config.base + u64::from(self.head % depth) * words as u64 * 4;
        let mut bytes = vec![0; words * 4];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        let words: Vec<u32> =
            bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let expected = (self.head / depth).is_multiple_of(2);
        ((words[0] & PHASE != 0) == expected).then(|| {
            self.head = self.head.wrapping_add(1);
            words
        })
    }

    /// All entries that are there and were not taken yet.
    pub fn take_all(&mut self) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| self.take()).collect()
    }
}

/// The driver's side of a submission queue in RAM.
pub struct SqDriver {
    /// The guest's RAM.
    pub memory: GuestRam,
    base: u64,
    depth: u16,
    /// Counter of the next entry to write; the doorbell's value.
    pub tail: u16,
    doorbell: Arc<dyn Fn(u32)>,
    /// The completion queue.
    pub completions: CqDriver,
}

impl SqDriver {
    /// For a transmit queue in RAM.
    pub fn tx(config: &TxConfig) -> SqDriver {
        let Placement::Host { base } = config.placement else { panic!("descriptors are in RAM") };
        let bell = config.doorbell.clone();
        let ring = Arc::new(move |tail| {
            bell.ring(tail);
        });
        SqDriver::new(&config.memory, base, config.depth, ring, config.completions)
    }

    /// For a receive queue.
    pub fn rx(config: &RxConfig) -> SqDriver {
        let (depth, base, bell) = (config.depth, config.base, config.doorbell.clone());
        let ring = Arc::new(move |tail| bell.ring(tail));
        SqDriver::new(&config.memory, base, depth, ring, config.completions)
    }

    fn new(
        memory: &GuestRam,
        base: u64,
        depth: u16,
        doorbell: Arc<dyn Fn(u32)>,
        completions: CqConfig,
    ) -> SqDriver {
        SqDriver {
            memory: memory.clone(),
            base,
            depth,
            tail: 0,
            doorbell,
            completions: CqDriver::new(memory, completions),
        }
    }

    /// Writes a descriptor with the phase of its lap; the card sees it once [`SqDriver::ring`] says.
    pub fn push(&mut self, words: [u32; 4]) {
        let phase = if (self.tail / self.depth).is_multiple_of(2) { PHASE } else { 0 };
        let [word0, rest @ ..] = words;
        self.push_raw([word0 | phase, rest[0], rest[1], rest[2]]);
    }

    /// Writes a descriptor as it is.
    pub fn push_raw(&mut self, words: [u32; 4]) {
        let at = self.base + u64::from(self.tail % self.depth) * 16;
        self.memory.write_obj(words.map(u32::to_le), GuestAddress(at)).unwrap();
        self.tail = self.tail.wrapping_add(1);
    }

    /// Writes the tail to the doorbell.
    pub fn ring(&self) {
        self.ring_for(self.tail.into());
    }

    /// Writes any value to the doorbell.
    pub fn ring_for(&self, tail: u32) {
        (self.doorbell)(tail);
    }

    /// Posts a receive buffer.
    pub fn post(&mut self, id: u16, address: u64, len: u32) {
        let flags = FIRST | LAST | COMPLETION;
        self.push([flags | len & 0xffff, id.into(), address as u32, (address >> 32) as u32]);
    }

    /// Writes a packet of these buffers, the first of which says all: `control` is its word 1
    /// without the request id.
    pub fn packet(
        &mut self,
        id: u16,
        control: u32,
        meta: Option<[u32; 4]>,
        buffers: &[(u64, u32)],
    ) {
        if let Some(meta) = meta {
            self.push(meta);
        }
        for words in data(id, control, 0, meta.is_none(), buffers) {
            self.push(words);
        }
    }
}

/// The driver's side of a low-latency transmit queue.
pub struct LlqDriver {
    /// The card's memory that the ring is in.
    pub window: GuestRam,
    offset: u64,
    policy: LlqPolicy,
    depth: u16,
    /// Counter of the next entry to write; the doorbell's value.
    pub tail: u16,
    /// The queue's doorbell.
    pub doorbell: Arc<SqDoorbell>,
    /// The completion queue.
    pub completions: CqDriver,
}

impl LlqDriver {
    /// For a queue whose descriptors are in the card's memory; panics for another.
    pub fn new(config: &TxConfig) -> LlqDriver {
        let Placement::Llq { window, offset, policy } = &config.placement else {
            panic!("descriptors are in the card's memory")
        };
        LlqDriver {
            window: window.clone(),
            offset: *offset,
            policy: *policy,
            depth: config.depth,
            tail: 0,
            doorbell: config.doorbell.clone(),
            completions: CqDriver::new(&config.memory, config.completions),
        }
    }

    /// Writes one entry with its phase: descriptors in front, a header in its place.
    pub fn push_entry(&mut self, descriptors: &[[u32; 4]], header: &[u8]) {
        let phase = if (self.tail / self.depth).is_multiple_of(2) { PHASE } else { 0 };
        let mut entry = vec![0; self.policy.entry_size.into()];
        for (place, words) in entry.chunks_mut(16).zip(descriptors) {
            let [word0, rest @ ..] = *words;
            let words = [word0 | phase, rest[0], rest[1], rest[2]];
            place.copy_from_slice(&words.map(u32::to_le_bytes).concat());
        }
        let header_at = 16 * usize::from(self.policy.descriptors_before_header);
        entry.iter_mut().skip(header_at).zip(header).for_each(|(to, from)| *to = *from);
        self.push_raw(&entry);
    }

    /// Writes one entry as it is.
    pub fn push_raw(&mut self, entry: &[u8]) {
        let index = u64::from(self.tail % self.depth);
        let at = self.offset + index * u64::from(self.policy.entry_size);
        self.window.write_slice(entry, GuestAddress(at)).unwrap();
        self.tail = self.tail.wrapping_add(1);
    }

    /// Writes a packet: `header` is pushed, the rest is in `buffers`.
    pub fn packet(
        &mut self,
        id: u16,
        control: u32,
        meta: Option<[u32; 4]>,
        header: &[u8],
        buffers: &[(u64, u32)],
    ) {
        let buffers = if buffers.is_empty() { &[(0, 0)] } else { buffers };
        let mut descriptors: Vec<_> = meta.into_iter().collect();
        descriptors.extend(data(id, control, header.len() as u8, meta.is_none(), buffers));
        let before = usize::from(self.policy.descriptors_before_header);
        let (first, rest) = descriptors.split_at(before.min(descriptors.len()));
        self.push_entry(first, header);
        let per_entry = match self.policy.stride {
            Stride::Single => 1,
            Stride::Multiple => usize::from(self.policy.entry_size) / 16,
        };
        rest.chunks(per_entry).for_each(|chunk| self.push_entry(chunk, &[]));
    }

    /// Writes the tail to the doorbell.
    pub fn ring(&self) {
        self.doorbell.ring(self.tail.into());
    }
}

/// Data descriptors of one packet, without phase.
pub fn data(
    id: u16,
    control: u32,
    header_len: u8,
    first: bool,
    buffers: &[(u64, u32)],
) -> Vec<[u32; 4]> {
    let last = buffers.len() - 1;
    let of = |(at, &(address, len)): (usize, &(u64, u32))| {
        let mut words = [len, 0, address as u32, (address >> 32) as u32 & 0xffff];
        if at == 0 {
            words[0] |= u32::from(id >> 10) << 16 | COMPLETION | if first { FIRST } else { 0 };
            words[1] = control | u32::from(id) << 22;
            words[3] |= u32::from(header_len) << 24;
        }
        words[0] |= if at == last { LAST } else { 0 };
        words
    };
    buffers.iter().enumerate().map(of).collect()
}

/// A meta descriptor that says this, and is stored.
pub fn meta(mss: u16, l3_at: u8, l3_len: u8, l4_words: u8) -> [u32; 4] {
    let mss = u32::from(mss);
    let word0 = (mss >> 10) << 16 | 1 << 20 | META | META_GIVEN | META_STORE | FIRST;
    let word2 = mss << 22 | u32::from(l4_words) << 16 | u32::from(l3_at) << 8 | u32::from(l3_len);
    [word0, 0, word2, 0]
}

/// Word 1 of data descriptors, as drivers set it.
pub mod control {
    use super::*;

    /// Linux: TCP or UDP whose checksum is seeded.
    pub const TCP4_PARTIAL: u32 = L3_IPV4 | L4_TCP << 8 | CHECK_TRANSPORT | PARTIAL;
    /// The same with UDP.
    pub const UDP4_PARTIAL: u32 = L3_IPV4 | L4_UDP << 8 | CHECK_TRANSPORT | PARTIAL;
    /// FreeBSD and DPDK: all sums are the device's.
    pub const TCP4_FULL: u32 = L3_IPV4 | L4_TCP << 8 | CHECK_TRANSPORT | CHECK_HEADER;
    /// The same with IPv6, which has no header sum.
    pub const TCP6_FULL: u32 = L3_IPV6 | L4_TCP << 8 | CHECK_TRANSPORT;
    /// Linux: what it cannot name behind IPv6 extension headers is UDP.
    pub const UDP6_PARTIAL: u32 = L3_IPV6 | L4_UDP << 8 | CHECK_TRANSPORT | PARTIAL;
    /// Segmentation of TCP over IPv4, with all sums.
    pub const TSO4: u32 = L3_IPV4 | L4_TCP << 8 | CHECK_TRANSPORT | CHECK_HEADER | SEGMENT;
    /// Segmentation of TCP over IPv6, with all sums.
    pub const TSO6: u32 = L3_IPV6 | L4_TCP << 8 | CHECK_TRANSPORT | SEGMENT;
}

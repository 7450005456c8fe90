//! The driver's half of a split ring (virtio 1.2, 2.7), for good drivers and bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use device_core::GuestRam;
use device_core::interrupt::{Interrupt, MsiVector};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::device::LiveQueue;
use crate::ring::Buffer;

/// VIRTQ_DESC_F_NEXT: the chain goes on (virtio 1.2, 2.7.5).
pub const NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE: the device writes the buffer.
pub const WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT: the buffer is a table of descriptors.
pub const INDIRECT: u16 = 4;

/// A descriptor as it lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub addr: u64,
    /// Bytes of the buffer.
    pub len: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// Index of the chain's next descriptor, if [`NEXT`] is set.
    pub next: u16,
}

impl Descriptor {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// A buffer the device reads.
pub fn readable(addr: u64, len: u32) -> Buffer {
    Buffer { addr, len, writable: false }
}

/// A buffer the device writes.
pub fn writable(addr: u64, len: u32) -> Buffer {
    Buffer { addr, len, writable: true }
}

/// A ring as its driver sees it.
pub struct DriverRing {
    memory: GuestRam,
    size: u16,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
    event_idx: bool,
    kick: Arc<EventFd>,
    free: Vec<u16>,
    /// Descriptors of each chain on offer, by head.
    chains: BTreeMap<u16, Vec<u16>>,
    offered: u16,
    seen: u16,
    kicked: u16,
}

impl DriverRing {
    /// Bytes of a ring of `size`, each part on pages of its own.
    pub const fn bytes(size: u16) -> u64 {
        let size = size as u64;
        (size * 16).next_multiple_of(0x1000)
            + (size * 2 + 6).next_multiple_of(0x1000)
            + (size * 8 + 6).next_multiple_of(0x1000)
    }

    /// An empty ring in zeroed memory at the page `at`.
    pub fn new(memory: &GuestRam, at: u64, size: u16, event_idx: bool) -> DriverRing {
        let descriptors = at;
        let available = descriptors + (u64::from(size) * 16).next_multiple_of(0x1000);
        let used = available + (u64::from(size) * 2 + 6).next_multiple_of(0x1000);
        DriverRing {
            memory: memory.clone(),
            size,
            descriptors,
            available,
            used,
            event_idx,
            kick: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap()),
            free: (0..size).rev().collect(),
            chains: BTreeMap::new(),
            offered: 0,
            seen: 0,
            kicked: 0,
        }
    }

    /// The device's half, as a transport would make it.
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new(self.size).unwrap();
        queue.try_set_desc_table_address(GuestAddress(self.descriptors)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(self.available)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(self.used)).unwrap();
        queue.set_event_idx(self.event_idx);
        queue.set_ready(true);
        queue
    }

    /// The device's half as queue number `index`, with its kick and its vector.
    pub fn live(&self, index: u16, irq: Option<Arc<dyn MsiVector>>) -> LiveQueue {
        let irq = irq.map(|vector| vector as Arc<dyn Interrupt>);
        LiveQueue { index, ring: self.queue(), kick: self.kick.clone(), irq }
    }

    /// Descriptors not on offer.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Puts a chain on offer; returns its head.
    pub fn offer(&mut self, chain: &[Buffer]) -> u16 {
        let indices: Vec<u16> = chain.iter().map(|_| self.free.pop().unwrap()).collect();
        for (at, buffer) in chain.iter().enumerate() {
            let next = indices.get(at + 1).copied();
            self.write_descriptor(indices[at], link(buffer, next));
        }
        let head = indices[0];
        self.chains.insert(head, indices);
        self.offer_head(head);
        head
    }

    /// Puts a chain on offer as an indirect table at `table`; returns its head.
    pub fn offer_indirect(&mut self, table: u64, chain: &[Buffer]) -> u16 {
        for (at, buffer) in chain.iter().enumerate() {
            let next = (at + 1 < chain.len()).then_some(at as u16 + 1);
            self.write(table + at as u64 * 16, &link(buffer, next).bytes());
        }
        let head = self.free.pop().unwrap();
        let len = chain.len() as u32 * 16;
        let descriptor = Descriptor { addr: table, len, flags: INDIRECT, next: 0 };
        self.write_descriptor(head, descriptor);
        self.chains.insert(head, vec![head]);
        self.offer_head(head);
        head
    }

    /// Writes `head` to the available ring and shows it.
    pub fn offer_head(&mut self, head: u16) {
        self.offer_heads(&[head]);
    }

    /// Puts chains on offer again that were given back; their descriptors are as they were.
    pub fn offer_heads(&mut self, heads: &[u16]) {
        for head in heads {
            let slot = u64::from(self.offered % self.size);
            self.write(self.available + 4 + slot * 2, &head.to_le_bytes());
            self.offered = self.offered.wrapping_add(1);
        }
        self.set_available(self.offered);
    }

    /// Shows `index` as the available index, whatever is in the ring.
    pub fn set_available(&self, index: u16) {
        let at = GuestAddress(self.available + 2);
        self.memory.store(index.to_le(), at, Ordering::Release).unwrap();
    }

    /// Writes a descriptor, whatever is in it.
    pub fn write_descriptor(&self, index: u16, descriptor: Descriptor) {
        self.write(self.descriptors + u64::from(index) * 16, &descriptor.bytes());
    }

    /// Kicks if the device wants to be; whether it did.
    pub fn kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let before = std::mem::replace(&mut self.kicked, self.offered);
        let wanted = if self.event_idx {
            let event = self.read_u16(self.used + 4 + u64::from(self.size) * 8);
            let since = self.offered.wrapping_sub(event).wrapping_sub(1);
            since < self.offered.wrapping_sub(before)
        } else {
            self.read_u16(self.used) & 1 == 0
        };
        if wanted {
            self.force_kick();
        }
        wanted
    }

    /// Kicks whether the device wants it or not.
    pub fn force_kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// Whether a chain was given back that was not taken.
    pub fn has_any(&self) -> bool {
        let at = GuestAddress(self.used + 2);
        u16::from_le(self.memory.load(at, Ordering::Acquire).unwrap()) != self.seen
    }

    /// The next chain given back: its head and the bytes written.
    pub fn take(&mut self) -> Option<(u16, u32)> {
        let at = GuestAddress(self.used + 2);
        let index = u16::from_le(self.memory.load(at, Ordering::Acquire).unwrap());
        if index == self.seen {
            return None;
        }
        let entry = self.used + 4 + u64::from(self.seen % self.size) * 8;
        let word: u64 = self.memory.read_obj(GuestAddress(entry)).unwrap();
        self.seen = self.seen.wrapping_add(1);
        let (head, len) = (word as u32 as u16, (word >> 32) as u32);
        self.free.extend(self.chains.remove(&head).expect("a chain is given back once").iter());
        Some((head, len))
    }

    /// All chains given back that were not taken yet, as [`DriverRing::take`] has them.
    pub fn take_all(&mut self) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Asks for an interrupt after `more` further chains given back (EVENT_IDX).
    pub fn interrupt_after(&self, more: u16) {
        let event = self.seen.wrapping_add(more);
        self.write(self.available + 4 + u64::from(self.size) * 2, &event.to_le_bytes());
    }

    /// Asks for no interrupts, or for them again (without EVENT_IDX).
    pub fn want_interrupts(&self, on: bool) {
        self.write(self.available, &u16::from(!on).to_le_bytes());
    }

    fn read_u16(&self, at: u64) -> u16 {
        u16::from_le(self.memory.load(GuestAddress(at), Ordering::Relaxed).unwrap())
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }
}

fn link(buffer: &Buffer, next: Option<u16>) -> Descriptor {
    let mut flags = if buffer.writable { WRITE } else { 0 };
    if next.is_some() {
        flags |= NEXT;
    }
    Descriptor { addr: buffer.addr, len: buffer.len, flags, next: next.unwrap_or(0) }
}

//! Where a transmit queue's descriptors are, and how they are read: each once, below the tail.

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::Span;

use super::descriptor::{LEN, TxDescriptor, read};
use super::llq::{Entry, LlqPolicy};
use super::shared::{BadRing, check_ring};

const NO_MEMORY: GuestFault = GuestFault("a part of the ring is not in memory");
const WRONG_PHASE: GuestFault = GuestFault("a descriptor below the tail has the wrong phase");
const LONG_HEADER: GuestFault = GuestFault("a pushed header is longer than its room");

/// Where the driver puts a transmit queue's descriptors.
pub enum Placement {
    /// In RAM, from `base` on.
    Host {
        /// Guest-physical address.
        base: u64,
    },
    /// In the card's memory behind BAR 2. The window is that memory, from address 0 on; the ring
    /// begins at `offset`.
    Llq {
        /// The card's memory, from address 0 on.
        window: GuestRam,
        /// Byte of it where the ring begins.
        offset: u64,
        /// What an entry looks like.
        policy: LlqPolicy,
    },
}

/// A ring of transmit descriptors.
pub struct Source {
    ring: Span,
    depth: u16,
    llq: Option<Entry>,
}

/// How far a packet has been read.
#[derive(Clone, Copy)]
pub struct Cursor {
    /// Counter of the next ring entry to read, and how many of those the doorbell allows.
    pub head: u16,
    left: u16,
}

impl Source {
    /// For `depth` entries. Fails if they cannot be there.
    pub fn new(placement: Placement, memory: GuestRam, depth: u16) -> Result<Source, BadRing> {
        let (memory, base, entry_len, llq) = match placement {
            Placement::Host { base } => (memory, base, LEN, None),
            Placement::Llq { window, offset, policy } => {
                policy.check()?;
                (window, offset, policy.entry_size.into(), Some(Entry::new(policy)))
            }
        };
        check_ring(&memory, base, depth, entry_len)?;
        let len = usize::from(depth).saturating_mul(entry_len);
        Ok(Source { ring: Span::new(memory, base, len), depth, llq })
    }

    /// Begins a packet at `head`, of which there are entries up to `tail`.
    pub fn begin(&mut self, head: u16, tail: u16) -> Cursor {
        if let Some(entry) = &mut self.llq {
            entry.begin();
        }
        Cursor { head, left: tail.wrapping_sub(head) }
    }

    /// The packet's next descriptor; `None` if the rest of the packet is not there yet. Fails if it is
    /// not in memory, or has the wrong phase.
    pub fn next(&mut self, cursor: &mut Cursor) -> Result<Option<TxDescriptor>, GuestFault> {
        let Some(entry) = &mut self.llq else {
            let Some(index) = cursor.step(self.depth) else { return Ok(None) };
            let descriptor = TxDescriptor(read(&self.ring, index).ok_or(NO_MEMORY)?);
            check_phase(descriptor, cursor.head.wrapping_sub(1), self.depth)?;
            return Ok(Some(descriptor));
        };
        if entry.is_used_up() {
            let Some(index) = cursor.step(self.depth) else { return Ok(None) };
            let bytes = entry.next_bytes();
            let at = u64::from(index).wrapping_mul(bytes.len() as u64);
            self.ring.read(at, bytes).ok_or(NO_MEMORY)?;
        }
        let descriptor = entry.descriptor();
        check_phase(descriptor, cursor.head.wrapping_sub(1), self.depth)?;
        Ok(Some(descriptor))
    }

    /// The packet's first `len` bytes, if they are pushed with its descriptors and not in a buffer.
    /// Fails if so many have no room there.
    pub fn header(&self, len: u8) -> Result<&[u8], GuestFault> {
        match &self.llq {
            Some(entry) => entry.header(len).ok_or(LONG_HEADER),
            None => Ok(&[]),
        }
    }
}

impl Cursor {
    /// Takes one more ring entry; its index.
    fn step(&mut self, depth: u16) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        let index = self.head & depth.wrapping_sub(1);
        self.head = self.head.wrapping_add(1);
        Some(index)
    }
}

/// Whether producers write phase 1 in the lap of `counter`: on even laps, with the first being 0.
pub fn phase_of(counter: u16, depth: u16) -> bool {
    counter & depth == 0
}

/// The tail bounds what is read; a wrong phase tells that what is read was never written.
fn check_phase(descriptor: TxDescriptor, counter: u16, depth: u16) -> Result<(), GuestFault> {
    if descriptor.phase() == phase_of(counter, depth) { Ok(()) } else { Err(WRONG_PHASE) }
}

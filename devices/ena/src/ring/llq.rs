//! Entries of low-latency queues: descriptors and the packet's first bytes, pushed by the driver
//! into the card's own memory (specification 7.5).

use serde::{Deserialize, Serialize};

use super::BadRing;
use super::descriptor::{LEN, TxDescriptor};

/// Bytes of the largest entry.
const MAX_ENTRY: usize = 256;

/// How many descriptors an entry holds that is not its packet's first (`ena_admin_llq_stride_ctrl` of
/// Linux `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stride {
    /// One.
    Single,
    /// As many as go in.
    Multiple,
}

/// What the driver chose by SET feature 4; it holds for queues created later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlqPolicy {
    /// Bytes of an entry: 128, 192 or 256.
    pub entry_size: u16,
    /// Descriptors of a packet's first entry, in front of the header: 1, 2, 4 or 8.
    pub descriptors_before_header: u8,
    /// Descriptors of each further entry.
    pub stride: Stride,
}

impl LlqPolicy {
    /// Checks the numbers, and that there is room for a header. Fails with [`BadRing::Policy`].
    pub fn check(&self) -> Result<(), BadRing> {
        let numbers = matches!(self.entry_size, 128 | 192 | 256)
            && matches!(self.descriptors_before_header, 1 | 2 | 4 | 8);
        if numbers && self.header_room() > 0 { Ok(()) } else { Err(BadRing::Policy) }
    }

    /// Most bytes of a packet that are pushed: those of an entry behind its descriptors.
    pub fn header_room(&self) -> u16 {
        self.entry_size.saturating_sub(u16::from(self.descriptors_before_header).saturating_mul(16))
    }
}

/// One packet's entries: the first, whose header stays, and the one being read. Both are private
/// copies, so that a driver that writes its window again changes nothing.
pub(super) struct Entry {
    policy: LlqPolicy,
    first: [u8; MAX_ENTRY],
    further: [u8; MAX_ENTRY],
    /// Which descriptor of the entry comes next, and how many it holds.
    slot: usize,
    slots: usize,
    /// Entries of this packet read so far; more than one is as good as two.
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    First,
    Further,
}

impl Entry {
    /// `policy` has been checked.
    pub fn new(policy: LlqPolicy) -> Entry {
        let (first, further) = ([0; MAX_ENTRY], [0; MAX_ENTRY]);
        Entry { policy, first, further, slot: 0, slots: 0, at: At::Start }
    }

    /// A new packet: it starts in a fresh entry.
    pub fn begin(&mut self) {
        (self.slot, self.slots, self.at) = (0, 0, At::Start);
    }

    /// Whether the next descriptor is in the next entry.
    pub fn is_used_up(&self) -> bool {
        self.slot >= self.slots
    }

    /// Where the next entry goes, whole.
    pub fn next_bytes(&mut self) -> &mut [u8] {
        let len = usize::from(self.policy.entry_size);
        self.slot = 0;
        let bytes = match self.at {
            At::Start => {
                self.at = At::First;
                self.slots = self.policy.descriptors_before_header.into();
                &mut self.first
            }
            At::First | At::Further => {
                self.at = At::Further;
                self.slots = match self.policy.stride {
                    Stride::Single => 1,
                    Stride::Multiple => len / LEN,
                };
                &mut self.further
            }
        };
        bytes.get_mut(..len).unwrap_or_default()
    }

    /// The next descriptor of this entry.
    pub fn descriptor(&mut self) -> TxDescriptor {
        let entry = if self.at == At::First { &self.first } else { &self.further };
        let (chunks, _) = entry.as_chunks::<4>();
        let at = self.slot.saturating_mul(4);
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(chunks.iter().skip(at)) {
            *word = u32::from_le_bytes(*bytes);
        }
        self.slot = self.slot.saturating_add(1);
        TxDescriptor(words)
    }

    /// The first `len` bytes of the packet; `None` if there is no room for as many.
    pub fn header(&self, len: u8) -> Option<&[u8]> {
        if u16::from(len) > self.policy.header_room() {
            return None;
        }
        let start = usize::from(self.policy.descriptors_before_header).saturating_mul(LEN);
        self.first.get(start..start.checked_add(len.into())?)
    }
}

#[cfg(test)]
#[path = "llq_test.rs"]
mod tests;

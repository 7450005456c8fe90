//! Completion queues: entries whose phase bit appears last (specification 7.4 and 7.10;
//! `ena_eth_io_tx_cdesc` and `ena_eth_io_rx_cdesc_base` of Linux
//! `drivers/net/ethernet/amazon/ena/ena_eth_io_defs.h`).

pub mod saved;

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::Span;
use net::ring::PutOff;
use serde::{Deserialize, Serialize};

use super::descriptor::PHASE; // entries have it in the same place
use super::interrupt::Vector;
use super::shared::{BadRing, Direction, check_ring};
use super::source::phase_of;
use crate::quiet::Naps;

const NO_MEMORY: GuestFault = GuestFault("a part of the completion ring is not in memory");

/// Bytes of a word.
const WORD: usize = 4;

/// A completion queue as CREATE_CQ made it; which direction is known once a submission queue comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqConfig {
    /// Guest-physical address of the ring, aligned to 8.
    pub base: u64,
    /// Entries, a power of two.
    pub depth: u16,
    /// 32-bit words per entry: 2 or 4 for transmit, 4 or 8 for receive.
    pub entry_words: u8,
}

impl CqConfig {
    /// Checks all that can be checked before the direction is known. Fails if no ring can be so, or be
    /// there.
    pub fn check(&self, memory: &GuestRam) -> Result<(), BadRing> {
        if !matches!(self.entry_words, 2 | 4 | 8) {
            return Err(BadRing::EntryWords(self.entry_words));
        }
        check_ring(memory, self.base, self.depth, self.entry_len())
    }

    fn entry_len(&self) -> usize {
        usize::from(self.entry_words).saturating_mul(WORD)
    }

    fn len(&self) -> usize {
        usize::from(self.depth).saturating_mul(self.entry_len())
    }
}

/// A completion queue in work: writes entries, and interrupts for them.
pub(super) struct Completions {
    config: CqConfig,
    direction: Direction,
    ring: Span,
    vector: Option<Arc<Vector>>,
    /// Counter of the next entry.
    next: u16,
    /// Entries were written since the last [`Completions::publish`].
    fresh: bool,
    put_off: Interrupt,
    /// While an interrupt waits for its unmask.
    naps: Naps,
}

/// An interrupt that the guest wants later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    /// There is none.
    Nothing,
    /// So long from now on; when now is, the turn's end knows.
    In(Duration),
    At(Instant),
}

impl Completions {
    /// Of a submission queue of this direction. Fails if its entries do not go with that, or the ring
    /// cannot be.
    pub fn new(
        config: CqConfig,
        direction: Direction,
        memory: GuestRam,
        vector: Option<Arc<Vector>>,
    ) -> Result<Completions, BadRing> {
        config.check(&memory)?;
        let words = match direction {
            Direction::Tx => [2, 4],
            Direction::Rx => [4, 8],
        };
        if !words.contains(&config.entry_words) {
            return Err(BadRing::EntryWords(config.entry_words));
        }
        let put_off = Interrupt::Nothing;
        let ring = Span::new(memory, config.base, config.len());
        Ok(Completions {
            config,
            direction,
            ring,
            vector,
            next: 0,
            fresh: false,
            put_off,
            naps: Naps::default(),
        })
    }

    /// A packet has been sent (specification 7.4). `head` is the submission queue's counter after
    /// it. Fails if the entry is not in memory.
    pub fn push_tx(&mut self, id: u16, status: u8, head: u16) -> Result<(), GuestFault> {
        let at = self.next_entry();
        let low = u32::from(id) | u32::from(status) << 16 | self.phase();
        let entry = u64::from(low) | u64::from(head) << 48;
        // One store shows all of the entry, after which the guest may use the packet's memory again.
        let stored = match self.config.entry_words {
            4 => self.ring.store(at, [entry, 0]), // no time stamp
            _ => self.ring.store(at, [entry]),
        };
        stored.ok_or(NO_MEMORY)?;
        self.advance();
        Ok(())
    }

    /// A buffer has been filled (specification 7.10): the words of its entry, without the phase,
    /// and its address. Fails if the entry is not in memory.
    pub fn push_rx(&mut self, words: [u32; 4], address: u64) -> Result<(), GuestFault> {
        let at = self.next_entry();
        let [first, second, third, fourth] = words.map(u64::from);
        // The phase comes last: who sees it sees the rest of the entry, and the buffer.
        let head = first | u64::from(self.phase()) | second << 32;
        let tail = third | fourth << 32;
        let stored = match self.config.entry_words {
            8 => self.ring.store(at, [head, tail, address, 0]), // no time stamp
            _ => self.ring.store(at, [head, tail]),
        };
        stored.ok_or(NO_MEMORY)?;
        self.advance();
        Ok(())
    }

    /// Interrupts for what was pushed, if the guest wants it now; whether it did.
    pub fn publish(&mut self) -> bool {
        if !std::mem::take(&mut self.fresh) {
            return false;
        }
        let Some(vector) = &self.vector else { return false };
        if vector.look() {
            // That was for these, too.
            self.put_off = Interrupt::Nothing;
            return true;
        }
        let delay = vector.delay(self.direction);
        if delay.is_zero() {
            self.put_off = Interrupt::Nothing;
            return vector.raise();
        }
        if self.put_off == Interrupt::Nothing {
            self.put_off = Interrupt::In(delay);
        }
        false
    }

    /// Interrupts for what was pushed some time ago, if that time is over or the vector unmasked.
    pub fn put_off(&mut self, now: Instant) -> PutOff {
        let PutOff { fired, until } = self.delayed(now);
        let Some(vector) = self.vector.as_ref().filter(|vector| vector.is_pending()) else {
            self.naps.end();
            return PutOff { fired, until };
        };
        let unmasked = vector.look();
        if unmasked || !vector.must_look() {
            self.naps.end();
            return PutOff { fired: fired || unmasked, until };
        }
        PutOff { fired, until: until.into_iter().chain(self.naps.next(now)).min() }
    }

    /// The time that the guest wants interrupts put off runs from the first entry that has had none,
    /// masked or not: so there is at most one in each such time.
    fn delayed(&mut self, now: Instant) -> PutOff {
        let Some(vector) = self.vector.as_ref().filter(|_| self.put_off != Interrupt::Nothing)
        else {
            return PutOff::default();
        };
        let until = match self.put_off {
            Interrupt::At(then) => then,
            Interrupt::In(delay) => now.checked_add(delay).unwrap_or(now),
            Interrupt::Nothing => now,
        };
        if now < until {
            self.put_off = Interrupt::At(until);
            return PutOff { fired: false, until: Some(until) };
        }
        self.put_off = Interrupt::Nothing;
        PutOff { fired: vector.raise(), until: None }
    }

    /// Where the next entry is in the ring.
    fn next_entry(&self) -> u64 {
        let index = u64::from(self.next & self.config.depth.wrapping_sub(1));
        index.wrapping_mul(self.config.entry_len() as u64)
    }

    fn phase(&self) -> u32 {
        if phase_of(self.next, self.config.depth) { PHASE } else { 0 }
    }

    fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
        self.fresh = true;
    }
}

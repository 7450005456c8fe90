//! What an ENA card tells its driver unasked, and why that would reset the card.

use super::register;
use crate::clock::now;
use crate::memory::{barrier, read, write};

/// Entries of the ring, and bytes of one.
pub const DEPTH: u32 = 16;
const ENTRY: u64 = 64;

/// Groups of events (`ena_admin_aenq_group`), and reasons of a reset (`ena_regs_reset_reason_types`).
const KEEP_ALIVE: u16 = 4;
const RESET_REQUEST: u16 = 7;
const NO_KEEP_ALIVE: u32 = 1;
const REQUESTED: u32 = 19;

/// The event ring.
pub struct Events {
    registers: u64,
    ring: u64,
    taken: u32,
    /// Ticks without a keep-alive that are too many; 0 if none are.
    silence: u64,
    heard_at: u64,
}

impl Events {
    /// Of an empty ring at that place, all of which is the card's to write from now on.
    pub fn new(registers: u64, ring: u64, silence: u64) -> Events {
        write(registers + register::AENQ_HEAD, DEPTH);
        Events { registers, ring, taken: 0, silence, heard_at: now() }
    }

    /// Takes all that was told; why the card has to be reset, if it has.
    pub fn reason_to_reset(&mut self) -> Option<u32> {
        let mut reason = None;
        let before = self.taken;
        while let Some(group) = self.next() {
            match group {
                KEEP_ALIVE => self.heard_at = now(),
                RESET_REQUEST => reason = Some(REQUESTED),
                _ => {}
            }
            self.taken = self.taken.wrapping_add(1);
        }
        if self.taken != before {
            barrier();
            write(self.registers + register::AENQ_HEAD, self.taken.wrapping_add(DEPTH) & 0xffff);
        }
        let is_silent = self.silence > 0 && now().wrapping_sub(self.heard_at) > self.silence;
        reason.or(is_silent.then_some(NO_KEEP_ALIVE))
    }

    /// The group of the next event, if it is there.
    fn next(&self) -> Option<u16> {
        let at = self.ring + u64::from(self.taken % DEPTH) * ENTRY;
        let is_there = read::<u32>(at + 4) & 1 == u32::from(self.taken & DEPTH == 0);
        is_there.then(|| read::<u32>(at) as u16)
    }
}

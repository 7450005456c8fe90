//! Rings of 64-byte entries in guest memory: the admin queue's two, and the event ring.

pub mod saved;

use std::sync::atomic::Ordering;

use device_core::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use crate::abi::{Command, ENTRY, PAYLOAD, Payload, phase_at};

/// Deepest admin or event ring (10.4).
const MAX_DEPTH: u16 = 4096;

/// The memory of a ring went away, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an admin ring is not in RAM")]
pub struct NoRam;

/// A ring as its CAPS register enabled it. Its memory is checked at each access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    base: u64,
    depth: u16,
}

impl Ring {
    /// The ring that a CAPS register asks for: `None` for values that disable it (2.2). Fails if it is
    /// not all in RAM, or not aligned to 8.
    pub fn latch(base: u64, caps: u32, memory: &GuestRam) -> Result<Option<Ring>, NoRam> {
        let (depth, entry) = (caps as u16, u64::from(caps >> 16));
        if entry != ENTRY || !depth.is_power_of_two() || !(2..=MAX_DEPTH).contains(&depth) {
            return Ok(None);
        }
        let len = usize::from(depth).saturating_mul(ENTRY as usize);
        let at = GuestAddress(base);
        let ram = GuestMemory::check_range(&**memory, at, len, Permissions::ReadWrite);
        if ram && base.is_multiple_of(8) { Ok(Some(Ring { base, depth })) } else { Err(NoRam) }
    }

    /// Entries of the ring, a power of two.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    fn at(&self, counter: u16) -> u64 {
        let slot = counter & self.depth.wrapping_sub(1);
        self.base.wrapping_add(u64::from(slot).wrapping_mul(ENTRY))
    }

    /// The phase of the entry at `counter`.
    pub fn phase(&self, counter: u16) -> bool {
        phase_at(counter, self.depth)
    }

    /// The entry at `counter`, read once. Fails if it is not in RAM.
    pub fn read(&self, counter: u16, memory: &GuestRam) -> Result<[u32; 16], NoRam> {
        let mut bytes = [0; ENTRY as usize];
        memory.read_slice(&mut bytes, GuestAddress(self.at(counter))).map_err(|_| NoRam)?;
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    /// Writes the entry at `counter`, its word number `last`, which holds the phase, after all
    /// others are visible.
    pub fn write(
        &self,
        counter: u16,
        words: &[u32; 16],
        last: usize,
        memory: &GuestRam,
    ) -> Result<(), NoRam> {
        let at = self.at(counter);
        let mut phase_word = 0;
        for ((index, word), at) in words.iter().enumerate().zip((at..).step_by(4)) {
            if index == last {
                phase_word = *word;
                continue;
            }
            memory.write_slice(&word.to_le_bytes(), GuestAddress(at)).map_err(|_| NoRam)?;
        }
        let at = at.wrapping_add((last as u64).wrapping_mul(4));
        memory.store(phase_word.to_le(), GuestAddress(at), Ordering::Release).map_err(|_| NoRam)
    }
}

/// The admin queue: commands in, answers out.
#[derive(Debug, Default)]
pub struct AdminQueue {
    commands: Option<Ring>,
    answers: Option<Ring>,
    consumed: u16,
    produced: u16,
    doorbell: u16,
}

/// What the doorbell of the admin queue brought.
#[derive(Debug)]
pub enum Next {
    Nothing,
    /// A command, and whether its phase is the expected one.
    Command(Command, bool),
}

/// The rings cannot be used any more (error class B).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    NoRam(#[from] NoRam),
    #[error("the admin doorbell is more than the ring's depth ahead")]
    TooFarAhead,
}

impl AdminQueue {
    /// A new submission ring, or none.
    pub fn set_commands(&mut self, ring: Option<Ring>) {
        self.commands = ring;
        (self.consumed, self.doorbell) = (0, 0);
    }

    /// A new completion ring, or none.
    pub fn set_answers(&mut self, ring: Option<Ring>) {
        self.answers = ring;
        self.produced = 0;
    }

    /// The guest wrote the doorbell; ignored while a ring is missing.
    pub fn ring(&mut self, value: u32) {
        if self.commands.is_some() && self.answers.is_some() {
            self.doorbell = value as u16;
        }
    }

    /// Entries of both rings, of those that there are: commands and answers.
    pub fn depths(&self) -> (Option<u16>, Option<u16>) {
        (self.commands.map(|ring| ring.depth), self.answers.map(|ring| ring.depth))
    }

    /// How many answers there have been, 16 bits of it.
    pub fn produced(&self) -> u16 {
        self.produced
    }

    /// Takes the next command. Fails if the doorbell is further ahead than the ring is long, or the
    /// entry is not in RAM.
    pub fn next(&mut self, memory: &GuestRam) -> Result<Next, Unusable> {
        let (Some(ring), Some(_)) = (self.commands, self.answers) else { return Ok(Next::Nothing) };
        let ahead = self.doorbell.wrapping_sub(self.consumed);
        if ahead == 0 {
            return Ok(Next::Nothing);
        }
        if ahead > ring.depth {
            return Err(Unusable::TooFarAhead);
        }
        let command = Command(ring.read(self.consumed, memory)?);
        let in_phase = command.phase() == ring.phase(self.consumed);
        self.consumed = self.consumed.wrapping_add(1);
        Ok(Next::Command(command, in_phase))
    }

    /// Writes the answer to the command with this id: a status, and what it says besides. Fails if the
    /// entry is not in RAM.
    pub fn answer(
        &mut self,
        id: u16,
        status: u8,
        payload: &Payload,
        memory: &GuestRam,
    ) -> Result<(), Unusable> {
        let Some(ring) = self.answers else { return Ok(()) };
        let phase = u32::from(ring.phase(self.produced));
        let mut words = [0; 16];
        let [first, head, rest @ ..] = &mut words;
        *first = u32::from(id) | u32::from(status) << 16 | phase << 24;
        *head = u32::from(self.consumed) << 16;
        let bytes: &[u8; PAYLOAD] = &payload.0;
        for (word, bytes) in rest.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        ring.write(self.produced, &words, 0, memory)?;
        self.produced = self.produced.wrapping_add(1);
        Ok(())
    }
}

//! The admin submission queue, and answers on their way to its completion queue.

pub mod saved;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::Span;

use crate::abi::{Command, Completion, SQE};
use crate::alarm::BadDoorbell;

const NO_MEMORY: GuestFault = GuestFault("the admin queue is not in memory");

/// The queue; the default one does not exist.
#[derive(Default)]
pub struct AdminQueue {
    entries: Option<Span>,
    size: u16,
    head: u16,
    tail: u16,
    /// Answers that the host has not seen. No command is taken while there are any, so there are no
    /// more than commands that are answered later.
    answers: Vec<Completion>,
}

impl AdminQueue {
    /// An empty queue of `size` entries at `base`.
    pub fn new(base: u64, size: u16, memory: &GuestRam) -> AdminQueue {
        let len = u64::from(size).wrapping_mul(SQE) as usize;
        let entries = Some(Span::new(memory.clone(), base, len));
        AdminQueue { entries, size, ..AdminQueue::default() }
    }

    /// Entries; 0 if there is no queue.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The host's write to the doorbell. Fails, with nothing changed, if the queue has no such entry.
    pub fn ring(&mut self, tail: u16) -> Result<(), BadDoorbell> {
        if self.entries.is_none() {
            return Err(BadDoorbell::NoQueue);
        }
        if tail >= self.size {
            return Err(BadDoorbell::Value);
        }
        self.tail = tail;
        Ok(())
    }

    /// Takes the next command. Fails if it is not in RAM.
    pub fn next(&mut self) -> Result<Option<Command>, GuestFault> {
        let Some(entries) = self.entries.as_ref().filter(|_| self.head != self.tail) else {
            return Ok(None);
        };
        let at = u64::from(self.head).wrapping_mul(SQE);
        let command = Command(entries.load(at).ok_or(NO_MEMORY)?);
        self.head = self.head.wrapping_add(1);
        if self.head == self.size {
            self.head = 0;
        }
        Ok(Some(command))
    }

    /// A command has been carried out.
    pub fn answer(&mut self, completion: Completion) {
        self.answers.push(completion);
    }

    /// Answers to show, and how far commands have been taken.
    pub fn answers(&mut self) -> (&mut Vec<Completion>, u16) {
        (&mut self.answers, self.head)
    }

    /// Whether answers wait for room.
    pub fn is_stuck(&self) -> bool {
        !self.answers.is_empty()
    }
}

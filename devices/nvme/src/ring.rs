//! A submission queue as the disk's source of requests (NVM command set, NVMe base specification 1.4, 6).
//!
//! The admin half checks a Create command and makes a [`QueueRing`] of it; from then on the two share only
//! doorbells and the completion queue.
//!
//! ```text
//! doorbell ──► next ──► request          complete ──► batch ──► publish ──► completion queue, vector
//! ```

pub mod saved;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use block::request::{Operation, Outcome, Range, Request};
use block::ring::Next;
use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::Span;
use device_core::scatter::ScatterError;

use crate::abi::{ALL_NAMESPACES, BLOCK, Command, Completion, NAMESPACE, SQE, Status, io};
use crate::alarm::Alarm;
use crate::completion::CompletionQueue;
use crate::doorbells::SqBell;
use crate::errors::{Error, ErrorLog};
use crate::prp::{self, MAX_TRANSFER};
use crate::stats::LaneStats;

const NO_MEMORY: GuestFault = GuestFault("a submission queue is not in memory");

/// In doubleword 12 of commands with data: write to the medium before completion.
const FUA: u32 = 1 << 30;
/// Protection information, which this format has not.
const PROTECTION: u32 = 0xf << 26;
/// In doubleword 12 of Write Zeroes: the blocks' space may be given back.
const DEALLOCATE: u32 = 1 << 25;
/// In doubleword 11 of Dataset Management.
const ATTRIBUTE_DEALLOCATE: u32 = 1 << 2;
/// Bytes of one range of Dataset Management, and the most there are.
const RANGE: usize = 16;
const MAX_RANGES: usize = 256;

/// What a submission queue needs.
pub struct QueueConfig {
    /// Its number, from 1 on.
    pub id: u16,
    /// Guest-physical address of its first entry, aligned to a page.
    pub base: u64,
    /// Entries, 2 at least.
    pub size: u16,
    /// Where its commands' completions go.
    pub completions: Arc<CompletionQueue>,
    /// Its doorbell, which is open.
    pub bell: Arc<SqBell>,
    /// Guest memory.
    pub memory: GuestRam,
    /// The host has switched the write cache on.
    pub write_cache: Arc<AtomicBool>,
    /// What its lane counts.
    pub stats: Arc<LaneStats>,
    /// Where commands that failed are noted.
    pub errors: Arc<ErrorLog>,
    /// Who is told of what breaks.
    pub alarm: Arc<Alarm>,
}

/// A submission queue in work.
pub struct QueueRing {
    config: QueueConfig,
    entries: Span,
    head: u16,
    /// As last looked at.
    tail: u16,
    /// Entries between the two whose commands were taken back, and have their completions.
    withdrawn: Vec<u16>,
    /// Completions that the host has not seen.
    batch: Vec<Completion>,
    /// There was no room for all of them.
    stuck: bool,
}

/// A command that the disk works on.
#[derive(Debug)]
pub struct Token {
    id: u16,
    opcode: u8,
    bytes: u32,
    block: u64,
    since: Instant,
}

impl Token {
    /// Of a command that is the controller's own.
    pub fn of_controller() -> Token {
        Token { id: 0, opcode: io::FLUSH, bytes: 0, block: 0, since: Instant::now() }
    }

    /// Whether it is of the command that the host calls `id`.
    pub fn is_of(&self, id: u16) -> bool {
        self.id == id
    }
}

impl QueueRing {
    /// At the first entry.
    pub fn new(config: QueueConfig) -> QueueRing {
        let len = u64::from(config.size).wrapping_mul(SQE) as usize;
        let entries = Span::new(config.memory.clone(), config.base, len);
        // As many as wait when the host takes none.
        let batch = Vec::with_capacity(config.size.into());
        let withdrawn = Vec::new();
        QueueRing { config, entries, head: 0, tail: 0, withdrawn, batch, stuck: false }
    }

    /// Its number.
    pub fn id(&self) -> u16 {
        self.config.id
    }

    /// Entries up to the tail as the host told it; looked at anew if all that was known are taken.
    fn has_more(&mut self) -> bool {
        loop {
            if self.head == self.tail {
                self.look();
            }
            if self.head == self.tail {
                return false;
            }
            let Some(at) = self.withdrawn.iter().position(|slot| *slot == self.head) else {
                return true;
            };
            self.withdrawn.swap_remove(at);
            self.head = self.step(self.head, 1);
        }
    }

    fn look(&mut self) {
        match self.config.bell.tail() {
            Ok(tail) => self.tail = tail,
            Err(bad) => self.config.alarm.note(bad),
        }
    }

    fn step(&self, from: u16, by: u16) -> u16 {
        let to = from.wrapping_add(by);
        if to >= self.config.size { to.wrapping_sub(self.config.size) } else { to }
    }

    /// Takes the next command, if its completion can be told.
    pub fn next(&mut self, request: &mut Request) -> Result<Next<Token>, GuestFault> {
        let is_full = self.batch.len() >= self.config.size.into();
        if (self.stuck || is_full) && !self.show()? {
            return Ok(Next::Empty);
        }
        if !self.config.completions.is_open() || !self.has_more() {
            return Ok(Next::Empty);
        }
        let at = u64::from(self.head).wrapping_mul(SQE);
        let command = Command(self.entries.load(at).ok_or(NO_MEMORY)?);
        self.head = self.step(self.head, 1);
        let counters = &self.config.stats.counters;
        match judge(&command, request, &self.config.memory) {
            Ok(Wish::Request(bytes)) => {
                counters.taken.add(1);
                Ok(Next::Request(Token {
                    id: command.id(),
                    opcode: command.opcode(),
                    bytes,
                    block: first_block(&command),
                    since: Instant::now(),
                }))
            }
            Ok(Wish::Nothing) => {
                counters.others.add(1);
                self.batch.push(Completion::new(command.id(), Status::OK));
                Ok(Next::Answered)
            }
            Err(status) => {
                counters.malformed.add(1);
                let status = self.config.errors.note(Error {
                    queue: self.config.id,
                    command: command.id(),
                    status,
                    block: first_block(&command),
                    namespace: command.namespace(),
                });
                self.batch.push(Completion::new(command.id(), status));
                Ok(Next::Answered)
            }
        }
    }

    /// Undoes the last `next`.
    pub fn put_back(&mut self, _: Token) {
        self.config.stats.counters.ended.add(1);
        // One before, over the ring's end.
        self.head = self.step(self.head, self.config.size.wrapping_sub(1));
    }

    /// The command has ended.
    pub fn complete(&mut self, token: Token, outcome: Outcome) {
        let Token { id, opcode, bytes, block, since } = token;
        self.config.stats.ended(opcode, bytes.into(), since.elapsed(), outcome);
        let status = match outcome {
            Outcome::Done => Status::OK,
            // What its host wanted is no error.
            Outcome::Aborted => Status::ABORTED,
            outcome => self.config.errors.note(Error {
                queue: self.config.id,
                command: id,
                status: status(opcode, outcome),
                block,
                namespace: NAMESPACE,
            }),
        };
        self.batch.push(Completion::new(id, status));
    }

    /// The host wants command `id` back: it is, if it has not been taken. Whether it was there.
    pub fn take_back(&mut self, id: u16) -> Result<bool, GuestFault> {
        self.look();
        let mut slot = self.head;
        while slot != self.tail {
            let at = u64::from(slot).wrapping_mul(SQE);
            let [first] = self.entries.load(at).ok_or(NO_MEMORY)?;
            if Command::id_in(first) == id && !self.withdrawn.contains(&slot) {
                self.withdrawn.push(slot);
                self.batch.push(Completion::new(id, Status::ABORTED));
                return Ok(true);
            }
            slot = self.step(slot, 1);
        }
        Ok(false)
    }

    /// Whether no completion waits for room.
    pub fn has_shown_all(&self) -> bool {
        self.batch.is_empty()
    }

    /// Shows what has completed, as far as there is room; whether that interrupted.
    pub fn publish(&mut self) -> Result<bool, GuestFault> {
        if self.batch.is_empty() {
            return Ok(false);
        }
        let completions = &self.config.completions;
        let interrupted = completions.post(self.config.id, self.head, &mut self.batch)?;
        self.stuck = !self.batch.is_empty();
        if interrupted {
            self.config.stats.counters.interrupts.add(1);
        }
        Ok(interrupted)
    }

    /// The same; whether all could be shown.
    fn show(&mut self) -> Result<bool, GuestFault> {
        self.publish()?;
        Ok(!self.stuck)
    }

    /// Asks for a kick when there are commands, or room for completions that wait for it.
    pub fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        if self.stuck {
            return Ok(self.config.completions.may_wait());
        }
        if !self.config.completions.is_open() {
            return Ok(true);
        }
        Ok(!self.has_more() && self.config.bell.may_sleep(self.tail))
    }

    /// Whether there is a command that can be taken.
    pub fn has_next(&mut self) -> bool {
        !self.stuck && self.has_more()
    }

    /// The host need not kick.
    pub fn stay_quiet(&mut self) {
        self.config.bell.stay_awake(self.tail);
    }

    /// Whether every write is to be durable.
    pub fn write_through(&self) -> bool {
        !self.config.write_cache.load(Ordering::Relaxed)
    }

    /// The queue cannot be gone on with, nor the controller.
    pub fn broken(&mut self, fault: GuestFault) {
        tracing::warn!("NVMe submission queue {} is given up: {fault}", self.config.id);
        self.config.alarm.fail();
    }

    /// What its lane waits on.
    pub fn kick(&self) -> BorrowedFd<'_> {
        self.config.bell.kick()
    }
}

/// The first block that a command is about; 0 if it is about none.
fn first_block(command: &Command) -> u64 {
    match command.opcode() {
        io::FLUSH | io::DATASET => 0,
        _ => command.block(),
    }
}

/// What a command asks for.
enum Wish {
    /// This of the disk, which is in the request passed; it moves so many bytes.
    Request(u32),
    /// Nothing at all.
    Nothing,
}

/// Makes a request of a command, or says what is wrong with it. What the disk checks is left to it.
fn judge(command: &Command, request: &mut Request, memory: &GuestRam) -> Result<Wish, Status> {
    if command.is_foreign() {
        return Err(Status::INVALID_FIELD);
    }
    let opcode = command.opcode();
    request.operation = match opcode {
        io::FLUSH => Operation::Flush,
        io::WRITE => Operation::Write,
        io::READ => Operation::Read,
        io::COMPARE => Operation::Compare,
        io::WRITE_ZEROES => Operation::WriteZeroes { unmap: command.word(12) & DEALLOCATE != 0 },
        io::DATASET => Operation::Discard,
        _ => return Err(Status::INVALID_OPCODE),
    };
    match command.namespace() {
        NAMESPACE => {}
        ALL_NAMESPACES if opcode == io::FLUSH => {}
        _ => return Err(Status::INVALID_NAMESPACE),
    }
    match opcode {
        io::FLUSH => Ok(Wish::Request(0)),
        io::DATASET => deallocate(command, request, memory),
        _ => blocks(command, request),
    }
}

/// Commands about blocks in a row.
fn blocks(command: &Command, request: &mut Request) -> Result<Wish, Status> {
    let control = command.word(12);
    if control & PROTECTION != 0 {
        return Err(Status::INVALID_FIELD);
    }
    let range = bytes(command.block(), u64::from(control & 0xffff).wrapping_add(1))?;
    request.durable = control & FUA != 0 && request.operation != Operation::Read;
    if let Operation::WriteZeroes { .. } = request.operation {
        request.ranges.push(range);
        return Ok(Wish::Request(0));
    }
    let len = u32::try_from(range.len).ok().filter(|len| *len <= MAX_TRANSFER);
    let len = len.ok_or(Status::INVALID_FIELD)?;
    request.offset = range.offset;
    let memory = request.buffers.memory().clone();
    prp::walk(command.prps(), len, &memory, &mut |at, len| {
        request.buffers.push(at, len).map_err(|error| match error {
            ScatterError::OutsideRam => Status::DATA_TRANSFER,
            ScatterError::TooManyPieces => Status::INVALID_FIELD,
        })
    })?;
    Ok(Wish::Request(len))
}

/// Dataset Management: ranges of blocks that may be given back. Their lengths, unlike others, are not
/// one less than they are.
fn deallocate(command: &Command, request: &mut Request, memory: &GuestRam) -> Result<Wish, Status> {
    if command.word(11) & ATTRIBUTE_DEALLOCATE == 0 {
        return Ok(Wish::Nothing);
    }
    let count = (command.word(10) & 0xff).saturating_add(1) as usize;
    let mut list = [[0; RANGE]; MAX_RANGES];
    let list = list.get_mut(..count).ok_or(Status::INVALID_FIELD)?;
    prp::read(command.prps(), list.as_flattened_mut(), memory)?;
    for entry in list {
        let entry = u128::from_le_bytes(*entry);
        let (count, first) = ((entry >> 32) as u32, (entry >> 64) as u64);
        if count > 0 {
            request.ranges.push(bytes(first, count.into())?);
        }
    }
    Ok(if request.ranges.is_empty() { Wish::Nothing } else { Wish::Request(0) })
}

/// Blocks in bytes. Fails if no disk has so many.
fn bytes(first: u64, count: u64) -> Result<Range, Status> {
    let offset = first.checked_mul(BLOCK).ok_or(Status::OUT_OF_RANGE)?;
    let len = count.checked_mul(BLOCK).ok_or(Status::OUT_OF_RANGE)?;
    offset.checked_add(len).ok_or(Status::OUT_OF_RANGE)?;
    Ok(Range { offset, len })
}

/// What the host is told of an outcome.
pub fn status(opcode: u8, outcome: Outcome) -> Status {
    match outcome {
        Outcome::Done => Status::OK,
        Outcome::ReadOnly => Status::WRITE_PROTECTED,
        Outcome::OutOfRange => Status::OUT_OF_RANGE,
        Outcome::Unsupported => Status::INVALID_OPCODE,
        Outcome::NoSpace => Status::CAPACITY,
        Outcome::Medium if matches!(opcode, io::READ | io::COMPARE) => Status::READ_ERROR,
        Outcome::Medium => Status::WRITE_FAULT,
        Outcome::BadMemory => Status::DATA_TRANSFER,
        Outcome::Differs => Status::DIFFERS,
        Outcome::Aborted => Status::ABORTED,
    }
}

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;

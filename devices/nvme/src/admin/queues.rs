//! Create and Delete of I/O queues, and doorbells in memory (NVMe base specification 1.4, 5.3 to 5.7).

pub mod saved;

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::commands::Answer;
use crate::abi::{CQE, Command, PAGE, SQE, Status};
use crate::card::queues::{Place, Sq};
use crate::card::{Card, Control};
use crate::completion::{CompletionQueue, CqConfig, Vector};
use crate::doorbells::SqBell;
use crate::registers::MAX_ENTRIES;
use crate::ring::{QueueConfig, QueueRing};
use crate::stats::LaneStats;

/// In doubleword 11: the queue is in one piece.
const CONTIGUOUS: u32 = 1 << 0;
/// In doubleword 11 of Create I/O Completion Queue: it interrupts.
const INTERRUPTS: u32 = 1 << 1;
/// Bytes from one queue's doorbells in memory to the next's, and from its tail to its head.
const STRIDE: u64 = 8;
const HEAD: u64 = 4;

/// Entries of a queue that a command makes.
fn size(command: &Command) -> Result<u16, Status> {
    let last = (command.word(10) >> 16) as u16;
    check_size(last.checked_add(1).ok_or(Status::QUEUE_SIZE)?)
}

/// At least two, as one stays free.
fn check_size(entries: u16) -> Result<u16, Status> {
    if (2..=MAX_ENTRIES).contains(&entries) { Ok(entries) } else { Err(Status::QUEUE_SIZE) }
}

/// Byte in a page of doorbells where those of `queue` are: its tail, and its head at [`HEAD`].
fn slot(queue: u16, which: u64) -> u64 {
    u64::from(queue).wrapping_mul(STRIDE).wrapping_add(which)
}

/// What belongs to the number of a submission queue, and where it completes to.
struct Parts<'a> {
    completions: &'a Arc<CompletionQueue>,
    bell: &'a Arc<SqBell>,
    stats: &'a Arc<LaneStats>,
}

impl Card {
    /// Where a queue of `size` entries of `entry` bytes begins.
    fn base(&self, command: &Command, size: u16, entry: u64) -> Result<u64, Status> {
        if command.word(11) & CONTIGUOUS == 0 {
            return Err(Status::INVALID_FIELD);
        }
        let [base, _] = command.prps();
        self.check_base(base, size, entry)?;
        Ok(base)
    }

    fn check_base(&self, base: u64, size: u16, entry: u64) -> Result<(), Status> {
        if !base.is_multiple_of(PAGE) {
            return Err(Status::PRP_OFFSET);
        }
        let len = usize::from(size).saturating_mul(entry as usize);
        let in_ram = self.memory.check_range(GuestAddress(base), len);
        in_ram.then_some(()).ok_or(Status::DATA_TRANSFER)
    }

    /// The completion queue `id`, if there can be one of that number and there is none yet.
    fn closed_cq(&self, id: u16) -> Result<&Arc<CompletionQueue>, Status> {
        let queue = self.completions.get(usize::from(id)).filter(|queue| !queue.is_open());
        queue.ok_or(Status::QUEUE_ID)
    }

    fn vector_of(&self, number: u16) -> Result<Vector, Status> {
        self.vector(number).ok_or(Status::VECTOR)
    }

    /// What a submission queue `id` that completes to `cq` needs, if there can be one.
    fn parts(&self, control: &mut Control, id: u16, cq: u16) -> Result<Parts<'_>, Status> {
        let completions = self.completions.get(usize::from(cq)).filter(|_| cq != 0);
        let completions = completions.ok_or(Status::QUEUE_ID)?;
        if !completions.is_open() {
            return Err(Status::CQ_INVALID);
        }
        let is_free = control.queues.place(id).is_some_and(|place| place.is_none());
        let parts = self.bells.get(id).zip(self.stats.get(usize::from(id).wrapping_sub(1)));
        let (bell, stats) = parts.filter(|_| is_free).ok_or(Status::QUEUE_ID)?;
        Ok(Parts { completions, bell, stats })
    }

    /// A submission queue `id` of `size` entries at `base`, with nothing in it.
    fn new_ring(&self, id: u16, base: u64, size: u16, parts: &Parts<'_>) -> QueueRing {
        let Parts { completions, bell, stats } = *parts;
        bell.open(size);
        completions.attach(bell.clone());
        QueueRing::new(QueueConfig {
            id,
            base,
            size,
            completions: completions.clone(),
            bell: bell.clone(),
            memory: self.memory.clone(),
            write_cache: self.write_cache.clone(),
            stats: stats.clone(),
            errors: self.errors.clone(),
            alarm: self.alarm.clone(),
        })
    }

    pub(super) fn create_cq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let id = command.word(10) as u16;
        let queue = self.closed_cq(id)?;
        let size = size(command)?;
        let vector = if command.word(11) & INTERRUPTS != 0 {
            let number = (command.word(11) >> 16) as u16;
            Some(self.vector_of(number)?)
        } else {
            None
        };
        let base = self.base(command, size, CQE)?;
        queue.open(CqConfig { base, size, vector });
        self.place_doorbells(control, None, id);
        Ok(Answer::Now(0))
    }

    pub(super) fn create_sq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let (id, cq) = (command.word(10) as u16, (command.word(11) >> 16) as u16);
        let parts = self.parts(control, id, cq)?;
        let size = size(command)?;
        let base = self.base(command, size, SQE)?;
        let ring = self.new_ring(id, base, size, &parts);
        if let Some(place) = control.queues.place(id) {
            *place = Some(Sq { cq, place: Place::Home(ring), deletion: None, binding: None });
        }
        self.place_doorbells(control, Some(id), cq);
        Ok(Answer::Now(0))
    }

    /// It is answered when its last request has ended.
    pub(super) fn delete_sq(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let queue = control.queues.get(command.word(10) as u16);
        let queue = queue.filter(|queue| queue.deletion.is_none()).ok_or(Status::QUEUE_ID)?;
        queue.deletion = Some(command.id());
        queue.binding = None;
        Ok(Answer::Later)
    }

    pub(super) fn delete_cq(&self, command: &Command) -> Result<Answer, Status> {
        let id = command.word(10) as u16;
        let queue =
            self.completions.get(usize::from(id)).filter(|queue| id != 0 && queue.is_open());
        let queue = queue.ok_or(Status::QUEUE_ID)?;
        if queue.is_used() {
            return Err(Status::QUEUE_DELETION);
        }
        queue.close();
        Ok(Answer::Now(0))
    }

    /// Doorbell Buffer Config: doorbells of I/O queues are in memory from now on.
    pub(super) fn set_doorbell_buffer(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let pages = command.prps();
        self.check_doorbell_pages(pages)?;
        // Drivers do this once after a reset; lanes may be looking at the old ones.
        if control.doorbell_pages.is_some() {
            return Err(Status::SEQUENCE);
        }
        control.doorbell_pages = Some(pages);
        for id in 1..=self.queue_count() {
            self.place_doorbells(control, Some(id), id);
        }
        Ok(Answer::Now(0))
    }

    fn check_doorbell_pages(&self, pages: [u64; 2]) -> Result<(), Status> {
        for page in pages {
            if !page.is_multiple_of(PAGE) {
                return Err(Status::INVALID_FIELD);
            }
            if !self.memory.check_range(GuestAddress(page), PAGE as usize) {
                return Err(Status::DATA_TRANSFER);
            }
        }
        Ok(())
    }

    /// Brings the doorbells of a submission and of a completion queue into memory, if they are to be
    /// there, and the queues are there.
    fn place_doorbells(&self, control: &mut Control, sq: Option<u16>, cq: u16) {
        let Some([indices, events]) = control.doorbell_pages else { return };
        let place = |at: u64| (indices.wrapping_add(at), events.wrapping_add(at));
        if let Some(sq) = sq.filter(|sq| control.queues.get(*sq).is_some())
            && let Some(bell) = self.bells.get(sq)
            && !bell.shadow.is_placed()
        {
            let (index, event) = place(slot(sq, 0));
            bell.shadow.place(index, event, bell.tail().unwrap_or_default());
        }
        if let Some(queue) = self.completions.get(usize::from(cq)).filter(|queue| queue.is_open())
            && !queue.shadow.is_placed()
        {
            let (index, event) = place(slot(cq, HEAD));
            queue.shadow.place(index, event, queue.head());
        }
        self.bind_kicks(control);
    }
}

#[cfg(test)]
#[path = "queues_test.rs"]
mod tests;

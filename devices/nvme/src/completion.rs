//! Completion queues: any number of rings post to one, each a batch at a time.

pub mod saved;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::doorbell::Wake;
use device_core::fault::GuestFault;
use device_core::interrupt::MsiVector;
use device_core::memory::Span;

use crate::abi::{CQE, Completion};
use crate::alarm::BadDoorbell;
use crate::doorbells::SqBell;
use crate::shadow::Shadow;
use crate::sync::Words;

const NO_MEMORY: GuestFault = GuestFault("a completion queue is not in memory");

/// Where a completion queue is and whom it tells.
pub struct CqConfig {
    /// Guest-physical address of its first entry, aligned to a page.
    pub base: u64,
    /// Entries, 2 at least.
    pub size: u16,
    /// `None`: the host polls.
    pub vector: Option<Vector>,
}

/// An interrupt of the controller's.
#[derive(Clone)]
pub struct Vector {
    /// Its number.
    pub number: u16,
    /// The interrupt itself.
    pub msi: Arc<dyn MsiVector>,
}

/// A completion queue; as old as the controller, and closed while the host has made none of its number.
///
/// Its lock is taken once for a batch of completions, and contended only where the host lets several
/// submission queues share the queue, or changes it.
pub struct CompletionQueue {
    memory: GuestRam,
    open: Mutex<Option<Open>>,
    /// Entries in the lower half, and in the upper how far entries have been shown; 0 while closed.
    shown: AtomicU32,
    /// Up to which entry the host has taken them.
    head: AtomicU32,
    /// Somebody waits for the host to take entries.
    starving: AtomicBool,
    /// Those that post here.
    posters: Mutex<Vec<Arc<SqBell>>>,
    /// The head doorbell in memory.
    pub shadow: Shadow,
}

struct Open {
    base: u64,
    entries: Span,
    size: u16,
    /// The next entry.
    tail: u16,
    phase: bool,
    /// As last looked at.
    head: u16,
    vector: Option<Vector>,
}

/// Entries from `from` on up to `to` of a ring of `size`; all are less than that, or the result is of no use.
fn distance(from: u16, to: u16, size: u16) -> u16 {
    if to >= from { to.wrapping_sub(from) } else { to.wrapping_add(size).wrapping_sub(from) }
}

impl Open {
    fn room(&self) -> u16 {
        // One entry stays free, to tell full from empty.
        self.size.wrapping_sub(1).saturating_sub(distance(self.head, self.tail, self.size))
    }

    fn next(&mut self) {
        self.tail = self.tail.wrapping_add(1);
        if self.tail >= self.size {
            self.tail = 0;
            self.phase = !self.phase;
        }
    }
}

impl CompletionQueue {
    /// Closed.
    pub fn new(memory: GuestRam) -> CompletionQueue {
        CompletionQueue {
            open: Mutex::default(),
            shown: AtomicU32::new(0),
            head: AtomicU32::new(0),
            starving: AtomicBool::new(false),
            posters: Mutex::default(),
            shadow: Shadow::new(Words::new(memory.clone())),
            memory,
        }
    }

    fn open_part(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn posters(&self) -> MutexGuard<'_, Vec<Arc<SqBell>>> {
        self.posters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it, empty, at its first entry.
    pub fn open(&self, config: CqConfig) {
        let CqConfig { base, size, vector } = config;
        let len = u64::from(size).wrapping_mul(CQE) as usize;
        let entries = Span::new(self.memory.clone(), base, len);
        let mut open = self.open_part();
        *open = Some(Open { base, entries, size, tail: 0, phase: true, head: 0, vector });
        self.head.store(0, Ordering::Relaxed);
        self.show(size, 0);
    }

    /// Closes it: once this returns nothing is written to the guest, and no interrupt sent.
    pub fn close(&self) {
        let mut open = self.open_part();
        *open = None;
        self.show(0, 0);
        self.shadow.forget();
        drop(open);
        self.posters().clear();
    }

    /// Whether there is such a queue.
    pub fn is_open(&self) -> bool {
        self.shown.load(Ordering::Relaxed) != 0
    }

    /// Entries of the queue; 0 while it is closed.
    pub fn size(&self) -> u16 {
        self.shown.load(Ordering::Relaxed) as u16
    }

    /// How far the host has taken entries, as last told.
    pub fn head(&self) -> u16 {
        self.head.load(Ordering::Relaxed) as u16
    }

    fn show(&self, size: u16, tail: u16) {
        self.shown.store(u32::from(size) | u32::from(tail) << 16, Ordering::Release);
    }

    /// A submission queue posts here from now on.
    pub fn attach(&self, poster: Arc<SqBell>) {
        self.posters().push(poster);
    }

    /// It does no more.
    pub fn detach(&self, poster: &Arc<SqBell>) {
        self.posters().retain(|other| !Arc::ptr_eq(other, poster));
    }

    /// Whether a submission queue posts here.
    pub fn is_used(&self) -> bool {
        !self.posters().is_empty()
    }

    /// The host's write to the register: it has taken all entries before `head`. Fails, with nothing
    /// changed, if the queue is closed, or the host cannot have.
    pub fn write_head(&self, head: u16) -> Result<(), BadDoorbell> {
        let shown = self.shown.load(Ordering::Acquire);
        let (size, tail) = (shown as u16, (shown >> 16) as u16);
        if size == 0 {
            return Err(BadDoorbell::NoQueue);
        }
        if !self.shadow.is_placed() {
            let before = self.head();
            if head >= size || distance(before, head, size) > distance(before, tail, size) {
                return Err(BadDoorbell::Value);
            }
            self.head.store(head.into(), Ordering::Release); // pairs with `look`
        }
        // Pairs with `may_wait`: of two swaps of one flag the later sees the earlier, so either who waits
        // is woken here or it sees the new head there.
        if self.starving.swap(false, Ordering::AcqRel) {
            self.posters().iter().for_each(|poster| poster.waker().wake());
        }
        Ok(())
    }

    /// Looks how far the host is. What it cannot have told is not believed.
    fn look(&self, open: &mut Open) {
        let head = match self.shadow.index() {
            Some(head) => head,
            None => self.head.load(Ordering::Acquire) as u16, // pairs with `write_head`
        };
        let taken = distance(open.head, open.tail, open.size);
        if head < open.size && distance(open.head, head, open.size) <= taken {
            open.head = head;
            self.head.store(head.into(), Ordering::Relaxed);
        }
    }

    /// Shows completions of submission queue `queue`, whose head is `head`, as many as there is room
    /// for, and takes them off the front of `batch`; all of it if the queue is closed. Whether that
    /// interrupted. Fails if the queue is not in RAM.
    pub fn post(
        &self,
        queue: u16,
        head: u16,
        batch: &mut Vec<Completion>,
    ) -> Result<bool, GuestFault> {
        let mut guard = self.open_part();
        let Some(open) = &mut *guard else {
            batch.clear();
            return Ok(false);
        };
        if usize::from(open.room()) < batch.len() {
            self.look(open);
            self.shadow.rest(open.head);
        }
        let count = batch.len().min(open.room().into());
        for completion in batch.drain(..count) {
            let [low, high] = completion.halves(queue, head, open.phase);
            let at = u64::from(open.tail).wrapping_mul(CQE);
            open.entries.store(at, [low]).ok_or(NO_MEMORY)?;
            // The phase is in this half, and seen last.
            open.entries.store(at.wrapping_add(8), [high]).ok_or(NO_MEMORY)?;
            open.next();
        }
        self.show(open.size, open.tail);
        match &open.vector {
            Some(vector) if count > 0 => {
                vector.msi.fire();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whoever has completions left wants to be woken when there is room for them. False if there is
    /// already: then go on.
    pub fn may_wait(&self) -> bool {
        self.starving.swap(true, Ordering::AcqRel); // pairs with `write_head`
        let mut guard = self.open_part();
        let Some(open) = &mut *guard else { return false };
        self.shadow.want(open.head);
        self.look(open);
        open.room() == 0
    }
}

#[cfg(test)]
#[path = "completion_test.rs"]
mod tests;

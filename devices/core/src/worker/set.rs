//! The workers of one thread and when each is due; the same for both kinds of loop.

use std::any::Any;
use std::io;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EventSet;

use super::task::{Again, Interest, Poller, Worker, slot_and_source};

/// A worker whose type only its post knows.
pub(super) trait AnyWorker: Worker {
    fn as_any(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<W: Worker> AnyWorker for W {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

struct Slot {
    worker: Box<dyn AnyWorker>,
    again: Again,
    #[cfg(any(test, feature = "testing"))]
    turns: u64,
}

/// The longest that a thread does not listen.
const LONGEST_REST: Duration = Duration::from_millis(1);

/// How long a thread may wait.
pub(super) enum Wait {
    /// For events; `None`: as long as there are none.
    Ready(Option<Duration>),
    /// For nothing at all.
    Deaf(Duration),
    /// Not, and nobody has to hear of events at once; when the round began.
    Busy(Instant),
}

impl Wait {
    /// For a thread that always listens.
    pub fn ready(self) -> Option<Duration> {
        match self {
            Wait::Ready(wait) => wait,
            Wait::Deaf(rest) => Some(rest),
            Wait::Busy(_) => Some(Duration::ZERO),
        }
    }
}

#[derive(Default)]
pub(super) struct WorkerSet {
    slots: Vec<Option<Slot>>,
}

impl WorkerSet {
    /// Takes a worker in, after its `begin`; returns its slot. Fails if that does, or all slots are
    /// taken.
    pub fn admit(
        &mut self,
        mut worker: Box<dyn AnyWorker>,
        poller: &mut dyn Poller,
    ) -> io::Result<u16> {
        let at = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        let slot = u16::try_from(at)
            .ok()
            .filter(|&slot| slot != u16::MAX)
            .ok_or_else(|| io::Error::other("too many workers on one thread"))?;
        worker.begin(&mut Interest { poller, slot })?;
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(Slot {
                worker,
                again: Again::Now,
                #[cfg(any(test, feature = "testing"))]
                turns: 0,
            });
        }
        Ok(slot)
    }

    /// Runs `f` on the worker in `slot`, and makes it due.
    pub fn with<W: Worker, R>(
        &mut self,
        slot: u16,
        poller: &mut dyn Poller,
        f: impl FnOnce(&mut W, &mut Interest<'_>) -> R,
    ) -> R {
        let place = self.slot(slot);
        place.again = Again::Now;
        let worker: &mut W = (*place.worker)
            .as_any()
            .downcast_mut()
            .expect("a post and its slot hold the same type");
        f(worker, &mut Interest { poller, slot })
    }

    /// Gives the worker in `slot` back.
    pub fn dismiss(&mut self, slot: u16) -> Box<dyn Any + Send> {
        let place = self.slots.get_mut(usize::from(slot)).and_then(Option::take);
        place.expect("a slot is freed only by its one post").worker.into_any()
    }

    fn slot(&mut self, slot: u16) -> &mut Slot {
        let place = self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut);
        place.expect("a slot is freed only by its one post")
    }

    /// Makes the worker due; returns how many turns it has had.
    #[cfg(any(test, feature = "testing"))]
    pub fn turns(&mut self, slot: u16) -> u64 {
        let slot = self.slot(slot);
        slot.again = Again::Now;
        slot.turns
    }

    /// Tells the worker behind `token`, if it still is there.
    pub fn ready(&mut self, token: u32, readiness: EventSet) {
        let (slot, source) = slot_and_source(token);
        if let Some(Some(slot)) = self.slots.get_mut(usize::from(slot)) {
            slot.again = Again::Now;
            slot.worker.ready(source, readiness);
        }
    }

    /// Gives every worker that is due one turn; returns how the thread may wait.
    pub fn run(&mut self, poller: &mut dyn Poller) -> Wait {
        let mut next: Option<Instant> = None;
        let (mut more, mut listens, mut rests) = (false, false, false);
        let now = Instant::now();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let due = match slot.again {
                Again::Now | Again::Unheard => true,
                Again::At(then) => then <= now,
                Again::Rest(_) | Again::WhenReady => false,
            };
            if due {
                let index = index as u16; // admitted as a u16
                slot.again = slot.worker.run(now, &mut Interest { poller, slot: index });
                if let Again::Rest(then) = slot.again {
                    rests = true;
                    slot.again = Again::At(then);
                }
                #[cfg(any(test, feature = "testing"))]
                {
                    slot.turns += 1;
                }
            }
            match slot.again {
                Again::Now => (more, listens) = (true, true),
                Again::Unheard => more = true,
                Again::At(then) => next = Some(next.map_or(then, |next| next.min(then))),
                Again::Rest(_) | Again::WhenReady => {}
            }
        }
        let left = |then: Instant| then.saturating_duration_since(Instant::now());
        match next {
            _ if more && !listens => Wait::Busy(now),
            _ if more => Wait::Ready(Some(Duration::ZERO)),
            // Of what is due later the first is due when the rest is over, or before.
            Some(then) if rests => Wait::Deaf(left(then).min(LONGEST_REST)),
            next => Wait::Ready(next.map(left)),
        }
    }
}

/// A wait as epoll wants it: whole milliseconds, rounded up, -1 for ever.
pub(super) fn wait_ms(wait: Option<Duration>) -> i32 {
    match wait {
        None => -1,
        Some(wait) => i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    }
}

//! The attendant of a card: looks after what no vCPU asks for, on a slow thread, when its bell is rung or its time
//! has come.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::kick::borrow;
use crate::worker::{Again, EventSet, Interest, IoThread, Post, Source, Worker};

const BELL: Source = 0;

/// What calls an attendant, from any thread.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Bell> {
        EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Bell)
    }

    /// There is something to look after.
    pub fn ring(&self) {
        // Cannot fail but by overflow, and then it is readable already.
        let _ = self.0.write(1);
    }
}

/// A card that an attendant looks after.
pub trait Attended: Send + Sync + 'static {
    /// Does what is due at `now`; returns when to come again, if not by the bell alone.
    fn attend(&self, now: Instant) -> Option<Instant>;
}

/// An attendant at work; it leaves when this is dropped.
pub struct Attendant<C: Attended>(Option<Post<Rounds<C>>>);

impl<C: Attended> Attendant<C> {
    /// Has `card`, which is not kept alive by it, looked after on `thread`, when `bell` is rung. Fails if the host
    /// refuses to watch that.
    pub fn start(card: &Arc<C>, bell: Arc<Bell>, thread: &IoThread) -> io::Result<Attendant<C>> {
        let post = thread.host(Rounds { card: Arc::downgrade(card), bell })?;
        Ok(Attendant(Some(post)))
    }

    /// Returns after it has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        if let Some(post) = &self.0 {
            post.settle();
        }
    }
}

impl<C: Attended> Drop for Attendant<C> {
    fn drop(&mut self) {
        if let Some(post) = self.0.take() {
            drop(post.recall(Rounds::farewell));
        }
    }
}

/// The worker.
struct Rounds<C> {
    card: Weak<C>,
    bell: Arc<Bell>,
}

impl<C> Rounds<C> {
    /// Before it comes home.
    fn farewell(&mut self, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(borrow(&self.bell.0)) {
            tracing::error!("cannot stop watching a card's bell: {error}");
        }
    }
}

impl<C: Attended> Worker for Rounds<C> {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(borrow(&self.bell.0), BELL, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, now: Instant, _: &mut Interest<'_>) -> Again {
        let next = self.card.upgrade().and_then(|card| card.attend(now));
        next.map_or(Again::WhenReady, Again::At)
    }
}

#[cfg(test)]
#[path = "attendant_test.rs"]
mod tests;

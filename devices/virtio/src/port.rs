//! Where a device's queues are plugged that one worker serves: it watches their kicks, and gives them up when the
//! guest breaks one.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::kick::borrow;
use device_core::worker::{Again, EventSet, Interest, IoThread, Post, Source, Worker};

use crate::device::{LiveQueue, Notice};
use crate::live::PluggedQueue;

/// What a device does with queues that are plugged in.
pub(crate) trait Service: Send + 'static {
    /// What the log calls them.
    const NAME: &'static str;

    /// The queues whose kicks are due to it.
    fn queues(&self) -> impl Iterator<Item = &PluggedQueue>;

    /// Does a bounded share of work; follows every kick, every mail and every deadline. Fails if the guest broke a
    /// ring; then there are no more turns.
    fn turn(&mut self, now: Instant) -> Result<Again, GuestFault>;

    /// Counts that the guest broke a ring.
    fn count_fault(&self);

    /// Ends what cannot be interrupted, on the thread, before the queues go home.
    fn wind_up(&mut self) {}

    /// Gives the queues back, to go on later.
    fn into_queues(self) -> Vec<LiveQueue>;
}

/// A device's side of a service: plugged, which is at work on its thread, or not there.
pub(crate) struct QueuePort<S> {
    thread: IoThread,
    post: Mutex<Option<Post<Attendant<S>>>>,
}

impl<S: Service> QueuePort<S> {
    /// Without queues, for a service that works on `thread`.
    pub fn new(thread: IoThread) -> QueuePort<S> {
        QueuePort { thread, post: Mutex::default() }
    }

    /// Puts `service` to work; the driver hears by `notice` if it breaks a ring. Fails if the host refuses to watch
    /// a kick.
    pub fn plug(&self, service: S, notice: Arc<dyn Notice>) -> io::Result<()> {
        let attendant = Attendant { service, faulted: false, notice, log: LogLimit::default() };
        let post = self.thread.host(attendant)?;
        *self.post() = Some(post);
        Ok(())
    }

    /// Brings all queues home, if any are plugged; once it returns their service touches no guest memory.
    pub fn unplug(&self) -> Vec<LiveQueue> {
        let post = self.post().take();
        let home = post.map(|post| post.recall(Attendant::farewell).service.into_queues());
        home.unwrap_or_default()
    }

    /// Has `f` run on the service between two of its turns, some time, if it is at work. It gets a turn afterwards.
    pub fn tell(&self, f: impl FnOnce(&mut S) + Send + 'static) {
        if let Some(post) = &*self.post() {
            post.tell(|attendant, _| f(&mut attendant.service));
        }
    }

    /// Returns after the service, if it is at work, has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        if let Some(post) = &*self.post() {
            post.settle();
        }
    }

    fn post(&self) -> MutexGuard<'_, Option<Post<Attendant<S>>>> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker.
struct Attendant<S> {
    service: S,
    faulted: bool,
    notice: Arc<dyn Notice>,
    log: LogLimit,
}

impl<S: Service> Attendant<S> {
    /// Last words on the worker's own thread.
    fn farewell(&mut self, interest: &mut Interest<'_>) {
        for queue in self.service.queues() {
            if let Err(error) = interest.forget(borrow(queue.kick())) {
                tracing::error!("cannot stop watching {}: {error}", S::NAME);
            }
        }
        self.service.wind_up();
    }
}

impl<S: Service> Worker for Attendant<S> {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let mut queues = (0..).zip(self.service.queues());
        queues.try_for_each(|(source, queue)| interest.watch(borrow(queue.kick()), source, set))
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, now: Instant, _: &mut Interest<'_>) -> Again {
        if self.faulted {
            return Again::WhenReady;
        }
        self.service.turn(now).unwrap_or_else(|fault| {
            guest_warn!(self.log, "{} is given up: {fault}", S::NAME);
            self.faulted = true;
            self.service.count_fault();
            self.notice.needs_reset();
            Again::WhenReady
        })
    }
}

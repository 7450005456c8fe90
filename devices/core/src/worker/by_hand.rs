//! A loop without a thread: its workers take their turns on whoever asks for them. For tests that
//! must be fast and must not depend on a scheduler.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmm_sys_util::epoll::{Epoll, EpollEvent};

use super::set::WorkerSet;
use super::task::Poller;

/// Events taken from the kernel at once; what is left comes with the next turn.
const EVENTS: usize = 32;

pub(super) struct Loop(Mutex<Parts>);

struct Parts {
    workers: WorkerSet,
    epoll: Epoll,
}

impl Loop {
    /// A loop without workers. Fails if the host has no descriptor left.
    pub fn new() -> io::Result<Loop> {
        let parts = Parts { workers: WorkerSet::default(), epoll: Epoll::new()? };
        Ok(Loop(Mutex::new(parts)))
    }

    /// What mail does on a thread.
    pub fn call<R>(&self, f: impl FnOnce(&mut WorkerSet, &mut dyn Poller) -> R) -> R {
        let parts = &mut *self.parts();
        f(&mut parts.workers, &mut parts.epoll)
    }

    /// Tells the workers what is ready, without waiting, and gives each that is due one turn.
    pub fn turn(&self) {
        let parts = &mut *self.parts();
        let mut events = [EpollEvent::default(); EVENTS];
        // With no wait there is no signal to interrupt it, and the arguments are ours.
        let count = parts.epoll.wait(0, &mut events).unwrap_or_default();
        for event in events.iter().take(count) {
            parts.workers.ready(event.data() as u32, event.event_set());
        }
        parts.workers.run(&mut parts.epoll);
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

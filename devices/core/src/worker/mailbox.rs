//! The mail of one I/O thread: what others want done there, between two turns of its workers.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

#[cfg(any(test, feature = "testing"))]
use super::by_hand;
use super::set::WorkerSet;
use super::task::Poller;

pub(super) type Job = Box<dyn FnOnce(&mut WorkerSet, &mut dyn Poller) + Send>;

/// What a thread and its posts share.
pub(super) struct Mailbox {
    jobs: Mutex<VecDeque<Job>>,
    /// Readable when there is mail; watched by the thread.
    pub wake: EventFd,
    /// The thread is to end.
    pub quit: AtomicBool,
    /// Stands in for the thread where there is none.
    #[cfg(any(test, feature = "testing"))]
    pub by_hand: Option<by_hand::Loop>,
}

impl Mailbox {
    /// An empty mailbox. Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            jobs: Mutex::default(),
            wake: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            quit: AtomicBool::new(false),
            #[cfg(any(test, feature = "testing"))]
            by_hand: None,
        })
    }

    /// Of a loop without a thread.
    #[cfg(any(test, feature = "testing"))]
    pub fn by_hand() -> io::Result<Mailbox> {
        let by_hand = Some(by_hand::Loop::new()?);
        Ok(Mailbox { by_hand, ..Mailbox::new()? })
    }

    /// Leaves a job and wakes the thread.
    pub fn put(&self, job: Job) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.ring();
    }

    fn take(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Does all mail.
    pub fn open(&self, workers: &mut WorkerSet, poller: &mut dyn Poller) {
        while let Some(job) = self.take() {
            job(workers, poller);
        }
    }

    /// Wakes the thread. Cannot fail but by overflow of the eventfd, and then it is readable already.
    pub fn ring(&self) {
        let _ = self.wake.write(1);
    }
}

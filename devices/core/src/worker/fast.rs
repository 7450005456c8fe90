//! The loop of lane threads: plain epoll, no look-up and no lock between an event and its worker.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use super::mailbox::Mailbox;
use super::set::{Wait, WorkerSet, wait_ms};
use super::task::{MAIL, Poller, TIMER};

/// Events taken from the kernel at once.
const EVENTS: usize = 32;
/// Waits up to this are kept exactly, by a timer of their own: epoll counts in milliseconds, and the
/// kernel lets it be late besides.
const FINE: Duration = Duration::from_millis(1);
/// How long a thread whose workers look by themselves goes on without listening: a call for each turn would cost as much as
/// a short one.
const UNHEARD: Duration = Duration::from_micros(20);

pub(super) struct Loop {
    mailbox: Arc<Mailbox>,
    epoll: Epoll,
    timer: TimerFd,
}

impl Poller for Epoll {
    fn add(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()> {
        self.ctl(ControlOperation::Add, fd, EpollEvent::new(set, token.into()))
    }

    fn change(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()> {
        self.ctl(ControlOperation::Modify, fd, EpollEvent::new(set, token.into()))
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        self.ctl(ControlOperation::Delete, fd, EpollEvent::default())
    }
}

impl Loop {
    /// A loop that takes mail from `mailbox`. Fails if the host has no descriptor left.
    pub fn new(mailbox: Arc<Mailbox>) -> io::Result<Loop> {
        let mut epoll = Epoll::new()?;
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        epoll.add(mailbox.wake.as_raw_fd(), MAIL, set)?;
        let timer = TimerFd::new()?;
        // Each expiry is an edge, so it need not be read.
        epoll.add(timer.as_raw_fd(), TIMER, set)?;
        Ok(Loop { mailbox, epoll, timer })
    }

    /// Runs until the mailbox says quit.
    pub fn serve(mut self) {
        let mut workers = WorkerSet::default();
        let mut events = [EpollEvent::default(); EVENTS];
        let mut unheard_since = None;
        loop {
            let wait_ms = match workers.run(&mut self.epoll) {
                Wait::Deaf(rest) => {
                    self.rest(rest);
                    0
                }
                Wait::Busy(now) => {
                    let since = *unheard_since.get_or_insert(now);
                    if now.saturating_duration_since(since) < UNHEARD {
                        continue;
                    }
                    0
                }
                Wait::Ready(Some(wait)) if !wait.is_zero() && wait <= FINE => {
                    match self.timer.reset(wait, None) {
                        Ok(()) => -1,
                        Err(_) => wait_ms(Some(wait)),
                    }
                }
                Wait::Ready(wait) => wait_ms(wait),
            };
            unheard_since = None;
            let count = match self.epoll.wait(wait_ms, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                // Not for any input of guest or network: the arguments are ours.
                Err(error) => panic!("epoll_wait failed: {error}"),
            };
            for event in events.iter().take(count) {
                match event.data() as u32 {
                    MAIL => {
                        if self.mailbox.quit.load(Ordering::Acquire) {
                            return;
                        }
                        self.mailbox.open(&mut workers, &mut self.epoll);
                    }
                    // Its worker is due, and its turn comes with the next round.
                    TIMER => {}
                    token => workers.ready(token, event.event_set()),
                }
            }
        }
    }

    /// Sleeps, and lets events gather.
    fn rest(&mut self, rest: Duration) {
        // A timer of zero would never expire.
        if !rest.is_zero() && self.timer.reset(rest, None).is_ok() {
            // If a signal ends it early, so be it.
            let _ = self.timer.wait();
        }
    }
}

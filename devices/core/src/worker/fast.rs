//! The loop of lane threads: plain epoll, no look-up and no lock between an event and its worker.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::set::{WorkerSet, wait_ms};
use super::{MAIL, Mailbox, Poller};

/// Events taken from the kernel at once.
const EVENTS: usize = 32;

pub(super) struct Loop {
    mailbox: Arc<Mailbox>,
    epoll: Epoll,
}

impl Poller for Epoll {
    fn add(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()> {
        self.ctl(ControlOperation::Add, fd, EpollEvent::new(set, token.into()))
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        self.ctl(ControlOperation::Delete, fd, EpollEvent::default())
    }
}

impl Loop {
    pub fn new(mailbox: Arc<Mailbox>) -> io::Result<Loop> {
        let mut epoll = Epoll::new()?;
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        epoll.add(mailbox.wake.as_raw_fd(), MAIL, set)?;
        Ok(Loop { mailbox, epoll })
    }

    pub fn serve(mut self) {
        let mut workers = WorkerSet::default();
        let mut events = [EpollEvent::default(); EVENTS];
        loop {
            let wait = workers.run(&mut self.epoll);
            let count = match self.epoll.wait(wait_ms(wait), &mut events) {
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
                        workers.open(&self.mailbox, &mut self.epoll);
                    }
                    token => workers.ready(token, event.event_set()),
                }
            }
        }
    }
}

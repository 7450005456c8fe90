//! The loop of slow devices on `event-manager`: one subscriber that stands for all workers.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::epoll::EventSet;

use super::mailbox::Mailbox;
use super::set::{WorkerSet, wait_ms};
use super::task::{MAIL, Poller};

pub(super) struct Loop {
    manager: EventManager<Workers>,
    id: event_manager::SubscriberId,
    mailbox: Arc<Mailbox>,
}

struct Workers {
    set: WorkerSet,
    mailbox: Arc<Mailbox>,
    wait: Option<Duration>,
    refused: Option<io::Error>,
}

impl Poller for EventOps<'_> {
    fn add(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()> {
        EventOps::add(self, Events::with_data_raw(fd, token, set)).map_err(to_io)
    }

    fn change(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()> {
        EventOps::modify(self, Events::with_data_raw(fd, token, set)).map_err(to_io)
    }

    fn remove(&mut self, fd: RawFd) -> io::Result<()> {
        EventOps::remove(self, Events::empty_raw(fd)).map_err(to_io)
    }
}

fn to_io(error: event_manager::Error) -> io::Error {
    match error {
        event_manager::Error::Epoll(errno) => io::Error::from_raw_os_error(errno.errno()),
        other => io::Error::other(other.to_string()),
    }
}

impl MutEventSubscriber for Workers {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let wake = self.mailbox.wake.as_raw_fd();
        let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
        self.refused = Poller::add(ops, wake, MAIL, set).err();
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            MAIL => self.mailbox.open(&mut self.set, ops),
            token => self.set.ready(token, events.event_set()),
        }
        self.wait = self.set.run(ops).ready();
    }
}

impl Loop {
    /// A loop that takes mail from `mailbox`. Fails if the host has no descriptor left.
    pub fn new(mailbox: Arc<Mailbox>) -> io::Result<Loop> {
        let mut manager = EventManager::new().map_err(to_io)?;
        let id = manager.add_subscriber(Workers {
            set: WorkerSet::default(),
            mailbox: mailbox.clone(),
            wait: None,
            refused: None,
        });
        let workers = manager.subscriber_mut(id).map_err(to_io)?;
        match workers.refused.take() {
            Some(refused) => Err(refused),
            None => Ok(Loop { manager, id, mailbox }),
        }
    }

    /// Runs until the mailbox says quit.
    pub fn serve(mut self) {
        while !self.mailbox.quit.load(Ordering::Acquire) {
            let wait = self.manager.subscriber_mut(self.id).ok().and_then(|workers| workers.wait);
            match self.manager.run_with_timeout(wait_ms(wait)) {
                // Time is up: the mail event gives the due worker its turn.
                Ok(0) => self.mailbox.ring(),
                Ok(_) => {}
                // Not for any input of guest or network: the arguments are ours.
                Err(error) => panic!("the event loop failed: {error}"),
            }
        }
    }
}

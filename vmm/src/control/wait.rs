//! What the main thread waits by.

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use device_core::worker::EventSet;
use event_manager::{EventManager, EventOps, Events as Ready, MutEventSubscriber, SubscriberOps};

/// Waits for any of a few descriptors.
pub struct Wait(EventManager<Sources>);

impl Wait {
    /// Of these, which stay open as long as it. Fails if the host has no descriptor left.
    pub fn on(fds: Vec<RawFd>) -> io::Result<Wait> {
        let mut manager = EventManager::new().map_err(to_io)?;
        let id = manager.add_subscriber(Sources { fds, refused: None });
        match manager.subscriber_mut(id).map_err(to_io)?.refused.take() {
            Some(refused) => Err(to_io(refused)),
            None => Ok(Wait(manager)),
        }
    }

    /// Returns when one of them is readable, or at the `deadline`. Fails if the host does not let it wait.
    pub fn until(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let wait = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        self.0.run_with_timeout(wait).map(drop).map_err(to_io)
    }
}

fn to_io(error: event_manager::Error) -> io::Error {
    io::Error::other(error.to_string())
}

struct Sources {
    fds: Vec<RawFd>,
    refused: Option<event_manager::Error>,
}

impl MutEventSubscriber for Sources {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        for &fd in &self.fds {
            if let Err(error) = ops.add(Ready::new_raw(fd, EventSet::IN)) {
                self.refused = Some(error);
            }
        }
    }

    /// Who waits looks at what they stand for himself.
    fn process(&mut self, _: Ready, _: &mut EventOps<'_>) {}
}

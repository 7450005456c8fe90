//! The main thread: waits for whatever ends the machine, and says why it ended.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use device_core::worker::EventSet;
use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::end::End;
use crate::signals::Signals;

/// Where any thread reports that the machine is over. The first report counts.
pub struct Ends {
    first: Mutex<Option<End>>,
    event: EventFd,
}

impl Ends {
    pub fn new() -> io::Result<Arc<Ends>> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Arc::new(Ends { first: Mutex::default(), event }))
    }

    pub fn report(&self, end: End) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        // It can fail only if full, and then it is readable.
        let _ = self.event.write(1);
    }

    fn take(&self) -> Option<End> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits until the machine is over.
///
/// A first signal calls `press_power_button`, and the guest has `grace` to power off; a
/// second one, or the end of the grace, ends the machine hard.
pub fn wait(
    ends: &Arc<Ends>,
    signals: Signals,
    grace: Duration,
    press_power_button: impl FnMut() + 'static,
) -> io::Result<End> {
    let mut manager = EventManager::new().map_err(to_io)?;
    let id = manager.add_subscriber(Waiting {
        ends: ends.clone(),
        signals,
        grace,
        press_power_button: Box::new(press_power_button),
        asked: None,
        end: None,
        refused: None,
    });
    loop {
        let waiting = manager.subscriber_mut(id).map_err(to_io)?;
        if let Some(refused) = waiting.refused.take() {
            return Err(to_io(refused));
        }
        if let Some(end) = waiting.end.take() {
            return Ok(end);
        }
        let wait = match waiting.asked {
            None => -1,
            Some((number, deadline)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(End::Signal(number));
                }
                i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1)
            }
        };
        manager.run_with_timeout(wait).map_err(to_io)?;
    }
}

fn to_io(error: event_manager::Error) -> io::Error {
    io::Error::other(error.to_string())
}

struct Waiting {
    ends: Arc<Ends>,
    signals: Signals,
    grace: Duration,
    press_power_button: Box<dyn FnMut()>,
    /// The signal that asked the guest to power off, and when its time is up.
    asked: Option<(i32, Instant)>,
    end: Option<End>,
    refused: Option<event_manager::Error>,
}

impl Waiting {
    fn sources(&self) -> [RawFd; 2] {
        [self.ends.event.as_raw_fd(), self.signals.as_raw_fd()]
    }
}

impl MutEventSubscriber for Waiting {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        for fd in self.sources() {
            if let Err(error) = ops.add(Events::new_raw(fd, EventSet::IN)) {
                self.refused = Some(error);
            }
        }
    }

    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        if events.fd() == self.ends.event.as_raw_fd() {
            let _ = self.ends.event.read();
            self.end = self.end.take().or_else(|| self.ends.take());
            return;
        }
        while let Some(number) = self.signals.next() {
            match self.asked {
                None => {
                    tracing::info!("signal {number}: pressing the guest's power button");
                    self.asked = Some((number, Instant::now() + self.grace));
                    (self.press_power_button)();
                }
                Some(_) => self.end = Some(End::Signal(number)),
            }
        }
    }
}

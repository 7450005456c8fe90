//! The attendant: looks after what no vCPU asks for, on the machine's slow thread: rings that came home,
//! doorbells written wrong, failures.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use device_core::worker::{Again, EventSet, Interest, Source, Worker};

use crate::alarm::Alarm;
use crate::card::Card;

const BELL: Source = 0;

/// The worker; it does not keep its controller alive.
pub struct Attendant {
    card: Weak<Card>,
    alarm: Arc<Alarm>,
}

impl Attendant {
    /// For `card`, which it does not keep alive.
    pub fn new(card: &Arc<Card>) -> Attendant {
        Attendant { card: Arc::downgrade(card), alarm: card.alarm.clone() }
    }

    /// Before it comes home.
    pub fn farewell(&mut self, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(self.alarm.bell()) {
            tracing::error!("cannot stop watching a controller's bell: {error}");
        }
    }
}

impl Worker for Attendant {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(self.alarm.bell(), BELL, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        if let Some(card) = self.card.upgrade() {
            card.attend();
        }
        Again::WhenReady
    }
}

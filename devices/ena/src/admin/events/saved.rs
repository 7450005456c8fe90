//! What of the event ring outlives its process.

use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{EventQueue, Hints};
use crate::abi::group;
use crate::admin::queue::Ring;
use crate::admin::queue::saved::RingState;
use crate::saved::{bad, nanoseconds};

/// The ring, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsState {
    /// Where it is, if it is.
    pub ring: Option<RingState>,
    /// Events posted, a counter of 16 bits.
    pub produced: u16,
    /// The doorbell, if it was written: how far the driver lets the card go.
    pub granted: Option<u16>,
    /// Groups that the driver wants, as bits.
    pub groups: u32,
    /// The driver took its response address away.
    pub abandoned: bool,
    /// Keep-alives are withheld.
    pub withheld: bool,
    /// The link's state is to be told.
    pub link_due: bool,
    /// These hints are to be told.
    pub hints_due: Option<Hints>,
    /// The driver is to be asked for a reset.
    pub reset_due: bool,
    /// Keep-alives are sent, the next one when the machine goes on.
    pub keeps_alive: bool,
    /// Since the last reset, in nanoseconds.
    pub age_ns: u64,
}

impl EventQueue {
    /// The state, when it is `now`.
    pub fn save(&self, now: Instant) -> EventsState {
        EventsState {
            ring: self.ring.as_ref().map(Ring::save),
            produced: self.produced,
            granted: self.granted,
            groups: self.groups,
            abandoned: self.abandoned,
            withheld: self.withheld,
            link_due: self.link_due,
            hints_due: self.hints_due,
            reset_due: self.reset_due,
            keeps_alive: self.keep_alive_at.is_some(),
            age_ns: nanoseconds(now.saturating_duration_since(self.since)),
        }
    }

    /// The queue that goes on from there at `now`. Fails if no driver can have brought it there.
    pub fn load(
        state: &EventsState,
        now: Instant,
        memory: &GuestRam,
    ) -> Result<EventQueue, LoadError> {
        if state.groups & !group::OFFERED != 0 {
            return Err(bad("events.groups", format!("there are none as {:#x}", state.groups)));
        }
        let since = now.checked_sub(Duration::from_nanos(state.age_ns));
        let since = since.ok_or_else(|| bad("events.age_ns", "no card is so old"))?;
        Ok(EventQueue {
            ring: Ring::load(state.ring.as_ref(), "events.ring", memory)?,
            produced: state.produced,
            granted: state.granted,
            groups: state.groups,
            abandoned: state.abandoned,
            withheld: state.withheld,
            link_due: state.link_due,
            hints_due: state.hints_due,
            reset_due: state.reset_due,
            keep_alive_at: state.keeps_alive.then_some(now),
            since,
        })
    }
}

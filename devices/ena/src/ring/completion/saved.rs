//! What of a completion queue's work outlives its process.

use std::time::{Duration, Instant};

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{Completions, Interrupt};
use crate::ring::interrupt::LONGEST_DELAY;
use crate::saved::{bad, nanoseconds};

/// How far the queue is, and what the driver has not been told yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompletionState {
    /// Counter of the next entry.
    pub next: u16,
    /// Entries were written that no interrupt was thought of for.
    pub fresh: bool,
    /// When the interrupt is due that was put off, in nanoseconds.
    pub interrupt_in_ns: Option<u64>,
}

impl Completions {
    /// The state, when it is `now`.
    pub fn save(&self, now: Instant) -> CompletionState {
        let left = match self.put_off {
            Interrupt::Nothing => None,
            Interrupt::In(delay) => Some(delay),
            Interrupt::At(then) => Some(then.saturating_duration_since(now)),
        };
        CompletionState {
            next: self.next,
            fresh: self.fresh,
            interrupt_in_ns: left.map(nanoseconds),
        }
    }

    /// Goes on from there. Fails if an interrupt is put off for longer than there is a delay.
    pub fn load(&mut self, state: &CompletionState) -> Result<(), LoadError> {
        let left = state.interrupt_in_ns.map(Duration::from_nanos);
        if left.is_some_and(|left| left > LONGEST_DELAY) {
            return Err(bad("interrupt_in_ns", "no interrupt is put off for so long"));
        }
        (self.next, self.fresh) = (state.next, state.fresh);
        self.put_off = left.map_or(Interrupt::Nothing, Interrupt::In);
        Ok(())
    }
}

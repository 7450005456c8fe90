//! What of a transmit queue's work outlives its process.

use std::time::Instant;

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::Tx;
use crate::ring::completion::saved::CompletionState;
use crate::ring::descriptor::Meta;
use crate::saved::bad;

/// How far a ring is that is home. No packet of it is under way then, and one whose last descriptor
/// is not there yet is read from its first again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxState {
    /// What was written to the doorbell last; any 16 bits.
    pub doorbell: u16,
    /// Counter of the next entry to read.
    pub head: u16,
    /// The doorbell as last found good.
    pub tail: u16,
    /// The packet at the head had no last descriptor when it was read.
    pub partial: bool,
    /// What packets without a meta descriptor use.
    pub meta: Meta,
    /// Its completion queue.
    pub completions: CompletionState,
}

impl Tx {
    /// The state, when it is `now`; the ring is on no lane.
    pub(crate) fn save(&self, now: Instant) -> TxState {
        if let Some(page) = &self.page {
            page.look();
        }
        TxState {
            doorbell: self.doorbell.tail() as u16,
            head: self.head,
            tail: self.tail,
            partial: self.partial,
            meta: self.meta,
            completions: self.completions.save(now),
        }
    }

    /// Goes on from there, as a new ring. Fails if no driver can have brought it there.
    pub(crate) fn load(&mut self, state: &TxState) -> Result<(), LoadError> {
        if state.tail.wrapping_sub(state.head) > self.depth {
            return Err(bad("tx.tail", "it is further from the head than the ring is long"));
        }
        self.completions.load(&state.completions)?;
        (self.head, self.tail) = (state.head, state.tail);
        (self.partial, self.meta) = (state.partial, state.meta);
        self.seen = state.tail.into();
        self.doorbell.note(state.doorbell.into());
        Ok(())
    }
}

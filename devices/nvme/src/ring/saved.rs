//! What of a submission queue outlives its process. No command of it is with the disk then.

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::QueueRing;
use crate::abi::Completion;
use crate::saved::bad;

/// A ring that is home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingState {
    /// What was written to the doorbell's register last.
    pub doorbell: u16,
    /// The next entry to be read.
    pub head: u16,
    /// The doorbell, in memory or not, as last looked at.
    pub tail: u16,
    /// Entries between the two whose commands were taken back.
    pub withdrawn: Vec<u16>,
    /// Completions that the host has not seen.
    pub completions: Vec<Completion>,
    /// There was no room for them.
    pub stuck: bool,
}

impl QueueRing {
    /// Where it is, and its entries.
    pub(crate) fn place(&self) -> (u64, u16) {
        (self.config.base, self.config.size)
    }

    /// The state.
    pub(crate) fn save(&self) -> RingState {
        RingState {
            doorbell: self.config.bell.told(),
            head: self.head,
            tail: self.tail,
            withdrawn: self.withdrawn.clone(),
            completions: self.batch.clone(),
            stuck: self.stuck,
        }
    }

    /// Goes on from there, as a new ring. Fails if no host can have brought it there.
    pub(crate) fn load(&mut self, state: RingState) -> Result<(), LoadError> {
        let size = self.config.size;
        let is_entry = |index: u16| index < size;
        if !is_entry(state.head) || !is_entry(state.tail) {
            return Err(bad("queues.tail", format!("no index is {size} or more")));
        }
        if !self.config.bell.tell(state.doorbell) {
            return Err(bad("queues.doorbell", format!("no index is {size} or more")));
        }
        if state.withdrawn.len() > size.into() || !state.withdrawn.iter().copied().all(is_entry) {
            return Err(bad("queues.withdrawn", format!("no index is {size} or more")));
        }
        let are_possible = state.completions.iter().all(|one| one.status.is_possible());
        // One for each command that was taken, and one for each that was taken back.
        let most = usize::from(size).saturating_mul(2);
        if state.completions.len() > most || !are_possible {
            return Err(bad(
                "queues.completions",
                "there are more than can wait, or impossible ones",
            ));
        }
        if state.stuck && state.completions.is_empty() {
            // Nothing would ever end that, and its lane would neither work nor sleep.
            return Err(bad("queues.stuck", "nothing waits for room"));
        }
        (self.head, self.tail) = (state.head, state.tail);
        (self.withdrawn, self.stuck) = (state.withdrawn, state.stuck);
        self.batch.extend(state.completions);
        Ok(())
    }
}

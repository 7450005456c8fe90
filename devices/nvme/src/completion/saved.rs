//! What of a completion queue outlives its process.

use std::sync::atomic::Ordering;

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{CompletionQueue, distance};
use crate::saved::bad;

/// A completion queue that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqState {
    /// Guest-physical address of its first entry.
    pub base: u64,
    /// Entries.
    pub size: u16,
    /// Number of its vector; `None`: the host polls.
    pub vector: Option<u16>,
    /// The next entry to be written.
    pub tail: u16,
    /// Its phase.
    pub phase: bool,
    /// Up to which entry the host has taken them, as last told.
    pub told: u16,
    /// The same as last looked at.
    pub head: u16,
}

impl CompletionQueue {
    /// The state; nothing while it is closed.
    pub fn save(&self) -> Option<CqState> {
        let guard = self.open_part();
        let open = guard.as_ref()?;
        Some(CqState {
            base: open.base,
            size: open.size,
            vector: open.vector.as_ref().map(|vector| vector.number),
            tail: open.tail,
            phase: open.phase,
            told: self.head(),
            head: open.head,
        })
    }

    /// Goes on from there, as a queue that was just opened. Fails if no host can have brought it there.
    pub fn load(&self, state: &CqState) -> Result<(), LoadError> {
        let mut guard = self.open_part();
        let open = guard.as_mut().filter(|open| open.size == state.size);
        let open = open.ok_or_else(|| bad("completion_queues.size", "it is another queue's"))?;
        let CqState { size, tail, told, head, .. } = *state;
        if [tail, told, head].iter().any(|index| *index >= size) {
            return Err(bad("completion_queues.tail", format!("no index is {size} or more")));
        }
        if distance(head, told, size) > distance(head, tail, size) {
            return Err(bad("completion_queues.told", "the host took more than there is"));
        }
        (open.tail, open.phase, open.head) = (tail, state.phase, head);
        self.head.store(told.into(), Ordering::Relaxed);
        self.show(size, tail);
        Ok(())
    }
}

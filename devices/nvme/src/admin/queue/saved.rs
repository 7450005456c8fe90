//! What of the admin queue outlives its process; where it is, registers know.

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::AdminQueue;
use crate::abi::Completion;
use crate::registers::MAX_ENTRIES;
use crate::saved::bad;

/// How far commands and answers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminState {
    /// The next entry to be read.
    pub head: u16,
    /// The doorbell as written last.
    pub tail: u16,
    /// Answers that the host has not seen.
    pub answers: Vec<Completion>,
}

impl AdminQueue {
    /// The state; nothing if there is no queue.
    pub fn save(&self) -> Option<AdminState> {
        self.entries.as_ref().map(|_| AdminState {
            head: self.head,
            tail: self.tail,
            answers: self.answers.clone(),
        })
    }

    /// Goes on from there, as a new queue. Fails if no host can have brought it there.
    pub fn load(&mut self, state: AdminState) -> Result<(), LoadError> {
        if state.head >= self.size || state.tail >= self.size {
            return Err(bad("admin.tail", format!("no index is {} or more", self.size)));
        }
        let are_possible = state.answers.iter().all(|one| one.status.is_possible());
        if state.answers.len() > MAX_ENTRIES.into() || !are_possible {
            return Err(bad("admin.answers", "there are more than can wait, or impossible ones"));
        }
        (self.head, self.tail, self.answers) = (state.head, state.tail, state.answers);
        Ok(())
    }
}

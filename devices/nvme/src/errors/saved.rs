//! What of the log of errors outlives its process.

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{ENTRIES, Error, ErrorLog, State};
use crate::saved::bad;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryState {
    /// Its number, from 1 on.
    pub number: u64,
    /// What it is of.
    pub error: Error,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorsState {
    /// The latest first.
    pub entries: Vec<EntryState>,
    /// How many there have been.
    pub count: u64,
}

impl ErrorLog {
    /// The state.
    pub fn save(&self) -> ErrorsState {
        let State { entries, count } = &*self.state();
        let entries = entries.iter().map(|&(number, error)| EntryState { number, error });
        ErrorsState { entries: entries.collect(), count: *count }
    }

    /// Goes on from there. Fails if the log cannot have brought itself there.
    pub fn load(&self, state: ErrorsState) -> Result<(), LoadError> {
        if state.entries.len() > ENTRIES.into() {
            return Err(bad("errors.entries", format!("there are more than {ENTRIES}")));
        }
        if !state.entries.iter().all(|entry| entry.error.status.is_possible()) {
            return Err(bad("errors.entries", "one has a status that there is not"));
        }
        let entries = state.entries.into_iter().map(|entry| (entry.number, entry.error));
        *self.state() = State { entries: entries.collect(), count: state.count };
        Ok(())
    }
}

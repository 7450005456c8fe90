//! What of asynchronous events outlives its process.

use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{Events, INTERNAL_ERROR, LIMIT};
use crate::alarm::BadDoorbell;
use crate::saved::bad;

/// Requests and events that wait for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsState {
    /// Ids of the requests, the first to be answered in front.
    pub requests: Vec<u16>,
    /// As the feature was set.
    pub enabled: u32,
    /// Information of the error that is due to be told.
    pub error: Option<u8>,
    /// A change of the namespace is.
    pub namespace: bool,
    /// One was told and its log page not read since.
    pub errors_told: bool,
    /// The same of changes of the namespace.
    pub namespace_told: bool,
    /// The log page says so.
    pub changed: bool,
}

impl Events {
    /// The state.
    pub fn save(&self) -> EventsState {
        EventsState {
            requests: self.requests.iter().copied().collect(),
            enabled: self.enabled,
            error: self.error,
            namespace: self.namespace,
            errors_told: self.errors_told,
            namespace_told: self.namespace_told,
            changed: self.changed,
        }
    }

    /// What goes on from there. Fails if no host can have brought it there.
    pub fn load(state: EventsState) -> Result<Events, LoadError> {
        if state.requests.len() > usize::from(LIMIT).saturating_add(1) {
            return Err(bad("events.requests", "there are more than a host may make"));
        }
        const KNOWN: [u8; 3] =
            [BadDoorbell::NoQueue as u8, BadDoorbell::Value as u8, INTERNAL_ERROR];
        if state.error.is_some_and(|error| !KNOWN.contains(&error)) {
            return Err(bad("events.error", "there is no such event"));
        }
        Ok(Events {
            requests: state.requests.into(),
            enabled: state.enabled,
            error: state.error,
            namespace: state.namespace,
            errors_told: state.errors_told,
            namespace_told: state.namespace_told,
            changed: state.changed,
        })
    }
}

//! Asynchronous events: told once each, by a request that the host left with the controller, and not
//! again until it has read the log page that goes with them (NVMe base specification 1.4, 5.2).

pub mod saved;

use std::collections::VecDeque;

use crate::abi::{Completion, Status};
use crate::alarm::BadDoorbell;

/// Requests that may wait at once, less one (AERL of Identify Controller).
pub const LIMIT: u8 = 3;
/// Events about the namespace, in the feature that switches events on and in what the controller says
/// that it has (OAES).
pub const NAMESPACE_CHANGED: u32 = 1 << 8;

/// Log pages that go with events.
pub mod log {
    /// Errors.
    pub const ERRORS: u8 = 0x01;
    /// Namespaces that have changed.
    pub const NAMESPACES: u8 = 0x04;
}

/// Event information of a persistent internal error; others of this type are [`BadDoorbell`]s.
const INTERNAL_ERROR: u8 = 3;
const ERROR: u32 = 0;
const NOTICE: u32 = 2;

/// Requests and events that wait for each other.
#[derive(Debug, Default)]
pub struct Events {
    requests: VecDeque<u16>,
    /// As the feature was set.
    pub enabled: u32,
    /// An event of this kind is due.
    error: Option<u8>,
    namespace: bool,
    /// One was told and its log page not read since.
    errors_told: bool,
    namespace_told: bool,
    /// What the log page says.
    changed: bool,
}

fn result(kind: u32, information: u8, log: u8) -> u32 {
    kind | u32::from(information) << 8 | u32::from(log) << 16
}

impl Events {
    /// Holds request `id` until there is something to tell. Fails if there are too many.
    pub fn hold(&mut self, id: u16) -> Result<(), Status> {
        if self.requests.len() > LIMIT.into() {
            return Err(Status::EVENT_LIMIT);
        }
        self.requests.push_back(id);
        Ok(())
    }

    /// Request `id` is not to be answered any more; whether it waited.
    pub fn take_back(&mut self, id: u16) -> bool {
        let place = self.requests.iter().position(|request| *request == id);
        place.and_then(|at| self.requests.remove(at)).is_some()
    }

    /// The namespace has changed.
    pub fn namespace_changed(&mut self) {
        (self.changed, self.namespace) = (true, true);
    }

    /// A doorbell was written wrong.
    pub fn bad_doorbell(&mut self, bad: BadDoorbell) {
        // Worse news stay.
        self.error.get_or_insert(bad as u8);
    }

    /// The controller cannot go on.
    pub fn failed(&mut self) {
        (self.error, self.errors_told) = (Some(INTERNAL_ERROR), false);
    }

    /// Whether the log page has a namespace.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// The host has read a log page.
    pub fn was_read(&mut self, page: u8) {
        match page {
            log::ERRORS => self.errors_told = false,
            log::NAMESPACES => {
                (self.changed, self.namespace, self.namespace_told) = (false, false, false);
            }
            _ => {}
        }
    }

    /// The answer to a request, if there is one and something to tell.
    pub fn next(&mut self) -> Option<Completion> {
        let enabled = self.enabled & NAMESPACE_CHANGED != 0;
        let is_due = self.namespace && enabled && !self.namespace_told;
        let error = self.error.filter(|_| !self.errors_told);
        if error.is_none() && !is_due {
            return None;
        }
        let id = self.requests.pop_front()?;
        let result = if let Some(information) = error {
            (self.error, self.errors_told) = (None, true);
            result(ERROR, information, log::ERRORS)
        } else {
            (self.namespace, self.namespace_told) = (false, true);
            result(NOTICE, 0, log::NAMESPACES)
        };
        Some(Completion { id, status: Status::OK, result })
    }
}

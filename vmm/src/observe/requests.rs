//! How often clients of the API asked for what, for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: u64,
    /// Of these, those that were refused or failed.
    pub failed: u64,
}

/// By method and path, with `{id}` for what differs.
pub type Counts = BTreeMap<(&'static str, &'static str), Count>;

/// The counts of a server, which it shares with who tells them.
#[derive(Debug, Default)]
pub struct Requests {
    kinds: Mutex<Counts>,
    /// Of all kinds, those that have a field which the dialect will lose.
    deprecated: Mutex<u64>,
}

impl Requests {
    /// Counts a request, and whether it came to nothing.
    pub fn add(&self, method: &'static str, path: &'static str, failed: bool) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let count = kinds.entry((method, path)).or_default();
        count.all = count.all.saturating_add(1);
        count.failed = count.failed.saturating_add(failed.into());
    }

    /// Counts a request with a field that the dialect will lose.
    pub fn add_deprecated(&self) {
        let mut count = self.deprecated.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_add(1);
    }

    /// All counts so far.
    pub fn counts(&self) -> Counts {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many had a field that the dialect will lose.
    pub fn deprecated(&self) -> u64 {
        *self.deprecated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

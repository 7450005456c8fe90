//! What all parts of the card's state have in common: the name of its kind, refusals, times.

use std::time::Duration;

use device_core::snapshot::LoadError;

/// What the state is of.
pub const KIND: &str = "ena";

/// `field` of the state says what cannot be.
pub fn bad(field: &'static str, why: impl Into<String>) -> LoadError {
    LoadError::field(KIND, field, why)
}

/// A time as it is saved.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

//! What all parts of the controller's state have in common: the name of its kind, refusals.

use device_core::snapshot::LoadError;

/// What the state is of.
pub const KIND: &str = "nvme";

/// `field` of the state says what cannot be.
pub fn bad(field: &'static str, why: impl Into<String>) -> LoadError {
    LoadError::field(KIND, field, why)
}

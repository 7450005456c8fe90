//! What a device finds wrong with a guest's ring.

/// A ring that cannot be gone on with: the guest broke its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GuestFault(pub &'static str);

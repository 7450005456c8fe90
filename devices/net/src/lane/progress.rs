//! How a direction's share of a turn ends, and how long its frames wait.

use std::time::{Duration, Instant};

/// How long a frame may wait for room, in the backend or in the guest's buffers. Drivers take a
/// transmit queue for dead after a few seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How a direction's share of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing to do until something is ready.
    Idle,
    /// There is more.
    More,
    /// Nothing to do until something is ready, or until then.
    Wait(Instant),
}

/// When a frame that has waited since then is given up.
pub(super) fn patience_ends(since: Instant) -> Instant {
    since.checked_add(PATIENCE).unwrap_or(since)
}

//! What a disk may do at most, shared by its lanes without a lock.

use std::time::Instant;

use device_core::rate::{Clock, Rate};

use crate::spec::Allowed;

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of bytes.
    Bytes,
    /// Of requests.
    Requests,
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: Instant,
    /// For which limit, or for which the longer.
    pub of: Limit,
}

/// All limits of one disk.
#[derive(Debug)]
pub struct Limiter {
    clock: Clock,
    bytes: Rate,
    requests: Rate,
}

impl Limiter {
    /// Nothing is limited. Time begins at `start`.
    pub fn new(start: Instant) -> Limiter {
        Limiter { clock: Clock::new(start), bytes: Rate::default(), requests: Rate::default() }
    }

    /// Replaces all limits; what went before is forgotten.
    pub fn set(&self, allowed: &Allowed) {
        self.bytes.set(allowed.bw);
        self.requests.set(allowed.iops);
    }

    /// Whether a request may go now; nothing is charged.
    ///
    /// A request of any size may go once the wait is over: what it costs is waited for afterwards.
    #[inline]
    pub fn ask(&self, now: Instant) -> Result<(), Wait> {
        if self.bytes.is_free() && self.requests.is_free() {
            return Ok(());
        }
        let ticks = self.clock.at(now);
        let (bytes, requests) = (self.bytes.wait(ticks), self.requests.wait(ticks));
        let of = if bytes > requests { Limit::Bytes } else { Limit::Requests };
        let longest = bytes.max(requests);
        if longest.is_zero() { Ok(()) } else { Err(Wait { until: longest.after(now), of }) }
    }

    /// Charges a request that moves `bytes`.
    #[inline]
    pub fn charge(&self, bytes: u64, now: Instant) {
        if self.bytes.is_free() && self.requests.is_free() {
            return;
        }
        let ticks = self.clock.at(now);
        self.bytes.charge(bytes, ticks);
        self.requests.charge(1, ticks);
    }
}

//! What a device may do at most, in bytes and in operations, shared by its threads without a lock.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::rate::{Clock, Level, Quota, Rate};

/// What is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: Option<Quota>,
    /// Operations, whatever their size.
    pub operations: Option<Quota>,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of bytes.
    Bytes,
    /// Of operations.
    Operations,
}

/// Why an operation has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: Instant,
    /// For which limit, or for which the longer.
    pub of: Limit,
}

/// How far the limits of a device are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Of bytes.
    pub bytes: Level,
    /// Of operations.
    pub operations: Level,
}

/// All limits of one device.
#[derive(Debug)]
pub struct Limiter {
    clock: Clock,
    bytes: Rate,
    operations: Rate,
}

impl Limiter {
    /// Nothing is limited. Time begins at `start`.
    pub fn new(start: Instant) -> Limiter {
        Limiter { clock: Clock::new(start), bytes: Rate::default(), operations: Rate::default() }
    }

    /// Replaces all limits; what went before is forgotten.
    pub fn set(&self, limits: Limits) {
        self.bytes.set(limits.bytes);
        self.operations.set(limits.operations);
    }

    /// How far they are used up.
    pub fn levels(&self, now: Instant) -> Levels {
        let ticks = self.clock.at(now);
        Levels { bytes: self.bytes.level(ticks), operations: self.operations.level(ticks) }
    }

    /// Goes on from there with the limits that are set.
    pub fn set_levels(&self, levels: Levels, now: Instant) {
        let ticks = self.clock.at(now);
        self.bytes.set_level(levels.bytes, ticks);
        self.operations.set_level(levels.operations, ticks);
    }

    /// Whether an operation may go now; nothing is charged.
    ///
    /// One of any size may go once the wait is over: what it costs is waited for afterwards.
    #[inline]
    pub fn ask(&self, now: Instant) -> Result<(), Wait> {
        if self.bytes.is_free() && self.operations.is_free() {
            return Ok(());
        }
        let ticks = self.clock.at(now);
        let (bytes, operations) = (self.bytes.wait(ticks), self.operations.wait(ticks));
        let of = if bytes > operations { Limit::Bytes } else { Limit::Operations };
        let longest = bytes.max(operations);
        if longest.is_zero() { Ok(()) } else { Err(Wait { until: longest.after(now), of }) }
    }

    /// Charges an operation that moves `bytes`.
    #[inline]
    pub fn charge(&self, bytes: u64, now: Instant) {
        if self.bytes.is_free() && self.operations.is_free() {
            return;
        }
        let ticks = self.clock.at(now);
        self.bytes.charge(bytes, ticks);
        self.operations.charge(1, ticks);
    }
}

//! Limits of a card, shared by its lanes without a lock, and counts of what went beyond them.

use std::time::Instant;

use device_core::counters::SharedCounter;
use device_core::rate::{Clock, Level, Quota, Rate};
use serde::{Deserialize, Serialize};

use super::tracking::Tracker;
use crate::frame::FrameMeta;

/// What a user allows a card; what is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Bits to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bw_in: Option<Quota>,
    /// Bits from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bw_out: Option<Quota>,
    /// Packets, both ways together; a frame still to be cut counts as its segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pps: Option<Quota>,
    /// Packets to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pps_in: Option<Quota>,
    /// Packets from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pps_out: Option<Quota>,
    /// Connections that are tracked at once; further ones are not let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conntrack: Option<u32>,
}

/// How often a card went beyond what it is allowed, since its machine was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowances {
    /// Packets to the guest that had to wait, or were lost, for `bw_in`.
    pub bw_in_exceeded: u64,
    /// Packets from the guest that had to wait, or were lost, for `bw_out`.
    pub bw_out_exceeded: u64,
    /// Packets of either way that had to wait, or were lost, for a limit on packets.
    pub pps_exceeded: u64,
    /// Packets lost since no more connections could be tracked.
    pub conntrack_exceeded: u64,
    /// Connections that could still be tracked, if they are limited.
    pub conntrack_available: Option<u64>,
}

/// A frame has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: Instant,
    bandwidth: bool,
    packets: bool,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the guest.
    In,
    /// From the guest.
    Out,
}

/// How far the limits of a card are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    bw_in: Level,
    bw_out: Level,
    pps: Level,
    pps_in: Level,
    pps_out: Level,
}

/// All limits of one card.
pub struct Limiter {
    clock: Clock,
    bw_in: Rate,
    bw_out: Rate,
    pps: Rate,
    pps_in: Rate,
    pps_out: Rate,
    bw_in_exceeded: SharedCounter,
    bw_out_exceeded: SharedCounter,
    pps_exceeded: SharedCounter,
    /// The connections, as far as they are limited.
    pub tracker: Tracker,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter::new(Instant::now())
    }
}

impl Limiter {
    /// Nothing is limited. Time begins at `start`.
    pub fn new(start: Instant) -> Limiter {
        Limiter {
            clock: Clock::new(start),
            bw_in: Rate::default(),
            bw_out: Rate::default(),
            pps: Rate::default(),
            pps_in: Rate::default(),
            pps_out: Rate::default(),
            bw_in_exceeded: SharedCounter::default(),
            bw_out_exceeded: SharedCounter::default(),
            pps_exceeded: SharedCounter::default(),
            tracker: Tracker::default(),
        }
    }

    /// Replaces all limits; what was sent before is forgotten, counts and connections are kept.
    pub fn set(&self, limits: &Allowed) {
        self.bw_in.set(limits.bw_in);
        self.bw_out.set(limits.bw_out);
        self.pps.set(limits.pps);
        self.pps_in.set(limits.pps_in);
        self.pps_out.set(limits.pps_out);
        self.tracker.set(limits.conntrack);
    }

    /// How far they are used up.
    pub fn levels(&self, now: Instant) -> Levels {
        let ticks = self.clock.at(now);
        Levels {
            bw_in: self.bw_in.level(ticks),
            bw_out: self.bw_out.level(ticks),
            pps: self.pps.level(ticks),
            pps_in: self.pps_in.level(ticks),
            pps_out: self.pps_out.level(ticks),
        }
    }

    /// Goes on from there with the limits that are set.
    pub fn set_levels(&self, levels: &Levels, now: Instant) {
        let ticks = self.clock.at(now);
        self.bw_in.set_level(levels.bw_in, ticks);
        self.bw_out.set_level(levels.bw_out, ticks);
        self.pps.set_level(levels.pps, ticks);
        self.pps_in.set_level(levels.pps_in, ticks);
        self.pps_out.set_level(levels.pps_out, ticks);
    }

    /// Whether a frame may go now; nothing is charged. `Err` says until when it has to wait.
    #[inline]
    pub fn ask(&self, way: Way, now: Instant) -> Result<(), Wait> {
        if self.is_free(way) {
            return Ok(());
        }
        let ticks = self.clock.at(now);
        let bandwidth = self.bandwidth(way).wait(ticks);
        let packets = self.pps.wait(ticks).max(self.packets(way).wait(ticks));
        let longest = bandwidth.max(packets);
        if longest.is_zero() {
            return Ok(());
        }
        let until = longest.after(now);
        Err(Wait { until, bandwidth: !bandwidth.is_zero(), packets: !packets.is_zero() })
    }

    /// Counts a frame that was told to wait; once.
    pub fn exceeded(&self, way: Way, wait: &Wait) {
        if wait.bandwidth {
            match way {
                Way::In => self.bw_in_exceeded.increment(),
                Way::Out => self.bw_out_exceeded.increment(),
            };
        }
        if wait.packets {
            self.pps_exceeded.increment();
        }
    }

    /// Charges a frame of `len` bytes that has gone.
    #[inline]
    pub fn charge(&self, way: Way, meta: &FrameMeta, len: usize, now: Instant) {
        if self.is_free(way) {
            return;
        }
        let ticks = self.clock.at(now);
        self.bandwidth(way).charge((len as u64).saturating_mul(8), ticks);
        let packets = packets(meta, len);
        self.pps.charge(packets, ticks);
        self.packets(way).charge(packets, ticks);
    }

    /// What went beyond the limits so far.
    pub fn allowances(&self) -> Allowances {
        Allowances {
            bw_in_exceeded: self.bw_in_exceeded.get(),
            bw_out_exceeded: self.bw_out_exceeded.get(),
            pps_exceeded: self.pps_exceeded.get(),
            conntrack_exceeded: self.tracker.exceeded(),
            conntrack_available: self.tracker.available(),
        }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self, now: Instant) -> u64 {
        self.clock.seconds(now)
    }

    /// Nothing is limited this way: the common case, in which the time is of no matter.
    fn is_free(&self, way: Way) -> bool {
        self.bandwidth(way).is_free() && self.pps.is_free() && self.packets(way).is_free()
    }

    fn packets(&self, way: Way) -> &Rate {
        match way {
            Way::In => &self.pps_in,
            Way::Out => &self.pps_out,
        }
    }

    fn bandwidth(&self, way: Way) -> &Rate {
        match way {
            Way::In => &self.bw_in,
            Way::Out => &self.bw_out,
        }
    }
}

/// How many packets a wire would carry for the frame.
fn packets(meta: &FrameMeta, len: usize) -> u64 {
    let Some(gso) = meta.gso else { return 1 };
    let payload = len.saturating_sub(usize::from(gso.headers));
    let segments = payload.div_ceil(usize::from(gso.segment.max(1)));
    segments.max(1) as u64
}

#[cfg(test)]
#[path = "limiter_test.rs"]
mod tests;

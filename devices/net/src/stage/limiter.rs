//! Limits of a card, shared by its lanes without a lock, and counts of what went beyond them.
//!
//! Each limit is a generic cell rate algorithm: one number says when all that was sent would have
//! been sent at exactly the allowed rate. Who wants to send asks whether that moment is at most a
//! burst ahead; who has sent moves it on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use device_core::counters::SharedCounter;
use serde::{Deserialize, Serialize};

use super::tracking::Tracker;
use crate::frame::FrameMeta;

/// What may go at once after a pause.
const BURST: Duration = Duration::from_millis(10);
/// Clock ticks per nanosecond: so fine that rounding a smallest frame's share of 400 Gbit/s is
/// below a hundredth of it, and so coarse that the clock lasts nine years.
const TICKS: u64 = 64;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS;

/// What a user allows a card; what is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Bits per second to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bw_in: Option<u64>,
    /// Bits per second from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bw_out: Option<u64>,
    /// Packets per second, both ways together; a frame still to be cut counts as its segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pps: Option<u64>,
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
    /// Packets of either way that had to wait, or were lost, for `pps`.
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

/// All limits of one card.
pub struct Limiter {
    /// The clock's zero.
    start: Instant,
    bw_in: Rate,
    bw_out: Rate,
    pps: Rate,
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
            start,
            bw_in: Rate::default(),
            bw_out: Rate::default(),
            pps: Rate::default(),
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
        self.tracker.set(limits.conntrack);
    }

    /// Whether a frame may go now; nothing is charged. `Err` says until when it has to wait.
    #[inline]
    pub fn ask(&self, way: Way, now: Instant) -> Result<(), Wait> {
        if self.is_free(way) {
            return Ok(());
        }
        let ticks = self.ticks(now);
        let bandwidth = self.bandwidth(way).wait(ticks);
        let packets = self.pps.wait(ticks);
        let longest = bandwidth.max(packets);
        if longest == 0 {
            return Ok(());
        }
        let pause = Duration::from_nanos(longest.div_ceil(TICKS));
        let until = now.checked_add(pause).unwrap_or(now);
        Err(Wait { until, bandwidth: bandwidth > 0, packets: packets > 0 })
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
        let ticks = self.ticks(now);
        self.bandwidth(way).charge((len as u64).saturating_mul(8), ticks);
        self.pps.charge(packets(meta, len), ticks);
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
        now.saturating_duration_since(self.start).as_secs()
    }

    /// Nothing is limited this way: the common case, in which the time is of no matter.
    fn is_free(&self, way: Way) -> bool {
        self.bandwidth(way).is_free() && self.pps.is_free()
    }

    fn bandwidth(&self, way: Way) -> &Rate {
        match way {
            Way::In => &self.bw_in,
            Way::Out => &self.bw_out,
        }
    }

    /// Stands still after nine years, and then nothing is limited any more.
    fn ticks(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).saturating_mul(TICKS)
    }
}

/// How many packets a wire would carry for the frame.
fn packets(meta: &FrameMeta, len: usize) -> u64 {
    let Some(gso) = meta.gso else { return 1 };
    let payload = len.saturating_sub(usize::from(gso.headers));
    let segments = payload.div_ceil(usize::from(gso.segment.max(1)));
    segments.max(1) as u64
}

/// One rate. Both numbers stand alone: a charge at a rate just replaced does no harm.
#[derive(Default)]
struct Rate {
    /// Units per second; 0 for no limit.
    per_second: AtomicU64,
    /// When all charged so far would have gone at the rate, in ticks.
    paid_until: AtomicU64,
}

impl Rate {
    fn set(&self, per_second: Option<u64>) {
        self.per_second.store(per_second.unwrap_or(0), Ordering::Relaxed);
        self.paid_until.store(0, Ordering::Relaxed);
    }

    fn is_free(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) == 0
    }

    /// Ticks to wait.
    fn wait(&self, now: u64) -> u64 {
        if self.is_free() {
            return 0;
        }
        let burst = (BURST.as_nanos() as u64).saturating_mul(TICKS);
        self.paid_until.load(Ordering::Relaxed).saturating_sub(now.saturating_add(burst))
    }

    fn charge(&self, units: u64, now: u64) {
        let rate = self.per_second.load(Ordering::Relaxed);
        let Some(half) = rate.checked_div(2).filter(|_| rate > 0) else { return };
        let cost = units.saturating_mul(TICKS_PER_SECOND).saturating_add(half);
        let cost = cost.checked_div(rate).unwrap_or_default();
        let next = |paid: u64| Some(paid.max(now).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
#[path = "limiter_test.rs"]
mod tests;

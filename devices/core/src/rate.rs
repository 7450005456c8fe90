//! A rate limit that many threads share without a lock.
//!
//! It is a generic cell rate algorithm: one number says when all that was sent would have been sent at
//! exactly the allowed rate. Who wants to send asks whether that moment is at most a burst ahead; who
//! has sent moves it on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What may go at once after a pause.
const BURST: Duration = Duration::from_millis(10);
/// Clock ticks per nanosecond: so fine that rounding a smallest frame's share of 400 Gbit/s is
/// below a hundredth of it, and so coarse that the clock lasts nine years.
const TICKS: u64 = 64;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS;

/// The time of rates that are asked together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Its zero.
    start: Instant,
}

/// A moment, or a time, by a [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Clock {
    /// A clock that begins at `start`.
    pub fn new(start: Instant) -> Clock {
        Clock { start }
    }

    /// What it shows at `now`. Stands still after nine years, and then nothing is limited any more.
    pub fn at(&self, now: Instant) -> Ticks {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        Ticks(u64::try_from(nanos).unwrap_or(u64::MAX).saturating_mul(TICKS))
    }

    /// Seconds since the beginning.
    pub fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

impl Ticks {
    /// No time at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// When it is over, if it begins at `now`.
    pub fn after(self, now: Instant) -> Instant {
        let pause = Duration::from_nanos(self.0.div_ceil(TICKS));
        now.checked_add(pause).unwrap_or(now)
    }
}

/// One rate. Both numbers stand alone: a charge at a rate just replaced does no harm.
#[derive(Debug, Default)]
pub struct Rate {
    /// Units per second; 0 for no limit.
    per_second: AtomicU64,
    /// When all charged so far would have gone at the rate, in ticks.
    paid_until: AtomicU64,
}

impl Rate {
    /// So many units per second from now on, or as many as wanted; what was charged before is forgotten.
    pub fn set(&self, per_second: Option<u64>) {
        self.per_second.store(per_second.unwrap_or(0), Ordering::Relaxed);
        self.paid_until.store(0, Ordering::Relaxed);
    }

    /// Nothing is limited: the common case, in which the time is of no matter.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) == 0
    }

    /// How long one has to wait; nothing is charged. Something of any size may go when the wait is over,
    /// and what it costs beyond a burst is waited for afterwards.
    pub fn wait(&self, now: Ticks) -> Ticks {
        if self.is_free() {
            return Ticks(0);
        }
        let burst = (BURST.as_nanos() as u64).saturating_mul(TICKS);
        Ticks(self.paid_until.load(Ordering::Relaxed).saturating_sub(now.0.saturating_add(burst)))
    }

    /// Charges `units` that have gone.
    pub fn charge(&self, units: u64, now: Ticks) {
        let rate = self.per_second.load(Ordering::Relaxed);
        let Some(half) = rate.checked_div(2).filter(|_| rate > 0) else { return };
        let cost = units.saturating_mul(TICKS_PER_SECOND).saturating_add(half);
        let cost = cost.checked_div(rate).unwrap_or_default();
        let next = |paid: u64| Some(paid.max(now.0).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_a_burst_goes_at_once_and_is_waited_for_afterwards() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(Some(1000));
        assert!(rate.wait(clock.at(start)).is_zero());
        rate.charge(500, clock.at(start));
        let until = rate.wait(clock.at(start)).after(start);
        assert_eq!(until - start, Duration::from_millis(490));
        assert!(rate.wait(clock.at(until)).is_zero());
    }

    #[test]
    fn rounding_of_the_smallest_frames_stays_far_below_a_percent() {
        let rate = Rate::default();
        rate.set(Some(400_000_000_000));
        for _ in 0..1_000_000 {
            rate.charge(60 * 8, Ticks(0));
        }
        let exact = 60 * 8 * 1_000_000 * TICKS / 400;
        assert!(rate.paid_until.load(Ordering::Relaxed).abs_diff(exact) < exact / 100);
    }

    #[test]
    fn a_rate_that_is_set_anew_has_forgotten_its_debt() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(Some(1));
        rate.charge(1_000_000, clock.at(start));
        assert!(!rate.wait(clock.at(start)).is_zero());
        rate.set(Some(1));
        assert!(rate.wait(clock.at(start)).is_zero());
        rate.charge(1_000_000, clock.at(start));
        rate.set(None);
        assert!(rate.is_free() && rate.wait(clock.at(start)).is_zero());
    }
}

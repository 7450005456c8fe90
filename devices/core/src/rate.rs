//! A rate limit that many threads share without a lock.
//!
//! It is a generic cell rate algorithm: one number says when all that was sent would have been sent at
//! exactly the allowed rate. Who wants to send asks whether that moment is at most a burst ahead; who
//! has sent moves it on.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What may go at once after a pause, at a steady rate.
const BURST: Duration = Duration::from_millis(10);
/// Clock ticks per nanosecond: so fine that rounding a smallest frame's share of 400 Gbit/s is
/// below a hundredth of it, and so coarse that the clock lasts nine years.
const TICKS: u64 = 64;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS;
/// No level that is gone on from makes anything wait longer than this, in ticks: an hour.
const MOST_WAIT: u64 = 3600 * TICKS_PER_SECOND;

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

/// What is wrong with a limit of 0.
pub const NOTHING: &str = "0 would let nothing through; leave it out for no limit";

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Quota {
    /// So many units each second, evenly: what they give in 10 ms may go at once.
    Steady(NonZeroU64),
    /// As long as a bucket has tokens.
    Bucket(Bucket),
}

/// A token bucket, full at first. A unit is a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Tokens that it holds.
    pub size: NonZeroU64,
    /// Milliseconds in which an empty one is full.
    pub refill_time: NonZeroU64,
    /// Tokens besides that are taken first and never come again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub one_time_burst: u64,
}

fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl Quota {
    /// So many units each second; `None` if that is nothing.
    pub fn per_second(units: u64) -> Option<Quota> {
        NonZeroU64::new(units).map(Quota::Steady)
    }

    /// Units, the ticks in which as many are allowed, and the ticks of which the units may go at once.
    fn terms(self) -> (u64, u64, u64) {
        let ticks = |time: Duration| {
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(TICKS)
        };
        match self {
            Quota::Steady(units) => (units.get(), TICKS_PER_SECOND, ticks(BURST)),
            Quota::Bucket(Bucket { size, refill_time, .. }) => {
                let time = ticks(Duration::from_millis(refill_time.get()));
                (size.get(), time, time)
            }
        }
    }
}

/// A number of units per second, or a bucket.
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quota, D::Error> {
        deserializer.deserialize_any(QuotaVisitor)
    }
}

struct QuotaVisitor;

impl<'de> Visitor<'de> for QuotaVisitor {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number per second, or a bucket of size and refill_time")
    }

    fn visit_u64<E: de::Error>(self, units: u64) -> Result<Quota, E> {
        Quota::per_second(units).ok_or_else(|| E::custom(NOTHING))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
        Bucket::deserialize(MapAccessDeserializer::new(map)).map(Quota::Bucket)
    }
}

/// How far a rate is used up: what of it outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Units that may still go before any others.
    pub once: u64,
    /// Nanoseconds until all that was charged would have gone at the rate; none of a bucket that is full.
    pub owed_ns: u64,
}

/// One rate. Its numbers stand alone: a charge at a rate just replaced does no harm.
#[derive(Debug, Default)]
pub struct Rate {
    /// Units that are allowed in `time`; 0 for no limit.
    units: AtomicU64,
    /// Ticks.
    time: AtomicU64,
    /// Ticks of which the units may go at once.
    burst: AtomicU64,
    /// Units that may go before any others.
    once: AtomicU64,
    /// When all charged so far would have gone at the rate, in ticks.
    paid_until: AtomicU64,
}

impl Rate {
    /// So much from now on, or as much as wanted; what was charged before is forgotten.
    pub fn set(&self, quota: Option<Quota>) {
        let (units, time, burst) = quota.map_or((0, 0, 0), Quota::terms);
        let once = match quota {
            Some(Quota::Bucket(bucket)) => bucket.one_time_burst,
            _ => 0,
        };
        self.units.store(units, Ordering::Relaxed);
        self.time.store(time, Ordering::Relaxed);
        self.burst.store(burst, Ordering::Relaxed);
        self.once.store(once, Ordering::Relaxed);
        self.paid_until.store(0, Ordering::Relaxed);
    }

    /// Nothing is limited: the common case, in which the time is of no matter.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.units.load(Ordering::Relaxed) == 0
    }

    /// How long one has to wait; nothing is charged. Something of any size may go when the wait is over,
    /// and what it costs beyond a burst is waited for afterwards.
    pub fn wait(&self, now: Ticks) -> Ticks {
        if self.is_free() || self.once.load(Ordering::Relaxed) > 0 {
            return Ticks(0);
        }
        let burst = self.burst.load(Ordering::Relaxed);
        Ticks(self.paid_until.load(Ordering::Relaxed).saturating_sub(now.0.saturating_add(burst)))
    }

    /// Charges `units` that have gone.
    pub fn charge(&self, units: u64, now: Ticks) {
        let allowed = self.units.load(Ordering::Relaxed);
        let left = self.beyond_once(units);
        let time = self.time.load(Ordering::Relaxed);
        let Some(cost) = share(left, time, allowed) else { return };
        let next = |paid: u64| Some(paid.max(now.0).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// How far it is used up.
    pub fn level(&self, now: Ticks) -> Level {
        let owed = self.paid_until.load(Ordering::Relaxed).saturating_sub(now.0);
        Level { once: self.once.load(Ordering::Relaxed), owed_ns: owed.div_ceil(TICKS) }
    }

    /// Goes on from a level, of which there is never more left than it was set to have. Of what is owed
    /// beyond a burst an hour counts at most: a wrong level stops nothing for good.
    pub fn set_level(&self, level: Level, now: Ticks) {
        self.once.fetch_min(level.once, Ordering::Relaxed);
        let burst = self.burst.load(Ordering::Relaxed);
        let owed = level.owed_ns.saturating_mul(TICKS).min(burst.saturating_add(MOST_WAIT));
        self.paid_until.store(now.0.saturating_add(owed), Ordering::Relaxed);
    }

    /// Takes what it can of `units` from those that go before any others; what is left.
    fn beyond_once(&self, units: u64) -> u64 {
        if self.once.load(Ordering::Relaxed) == 0 {
            return units;
        }
        let less = |once: u64| Some(once.saturating_sub(units));
        let had = self.once.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        units.saturating_sub(had.unwrap_or_default())
    }
}

/// The ticks that `units` take, of which `allowed` take `time`; `None` if nothing is limited.
fn share(units: u64, time: u64, allowed: u64) -> Option<u64> {
    let half = allowed.checked_div(2).filter(|_| allowed > 0)?;
    if let Some(product) = units.checked_mul(time).and_then(|product| product.checked_add(half)) {
        return product.checked_div(allowed);
    }
    let product = u128::from(units).saturating_mul(u128::from(time));
    let ticks = product.saturating_add(half.into()).checked_div(allowed.into())?;
    Some(u64::try_from(ticks).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(units: u64) -> Option<Quota> {
        Quota::per_second(units)
    }

    fn bucket(size: u64, refill_time: u64, one_time_burst: u64) -> Option<Quota> {
        let (size, refill_time) = (NonZeroU64::new(size)?, NonZeroU64::new(refill_time)?);
        Some(Quota::Bucket(Bucket { size, refill_time, one_time_burst }))
    }

    /// How many units of one go at `at`, and when the next may.
    fn gone(rate: &Rate, clock: Clock, at: Instant) -> (u64, Instant) {
        let mut gone = 0;
        loop {
            let wait = rate.wait(clock.at(at));
            if !wait.is_zero() {
                return (gone, wait.after(at));
            }
            rate.charge(1, clock.at(at));
            gone += 1;
        }
    }

    #[test]
    fn a_bucket_is_full_at_first_and_again_after_its_time() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(bucket(100, 2000, 0));
        // Who finds one token left may be in debt by one.
        let (first, next) = gone(&rate, clock, start);
        assert_eq!((first, next - start), (101, Duration::from_millis(20)));
        let later = next + Duration::from_millis(2000);
        assert_eq!(gone(&rate, clock, later).0, 101);
        assert_eq!(gone(&rate, clock, later + Duration::from_secs(1)).0, 50);
    }

    #[test]
    fn a_one_time_burst_goes_first_and_never_again() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(bucket(10, 1000, 1000));
        rate.charge(1002, clock.at(start));
        assert_eq!(gone(&rate, clock, start).0, 9);
        assert_eq!(gone(&rate, clock, start + Duration::from_secs(60)).0, 11);
    }

    #[test]
    fn a_level_goes_on_by_another_clock_and_never_has_more_than_was_set() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(bucket(100, 2000, 50));
        rate.charge(50 + 70, clock.at(start));
        let level = rate.level(clock.at(start + Duration::from_secs(1)));
        assert_eq!(level, Level { once: 0, owed_ns: 400_000_000 });

        let (other, later) = (Rate::default(), start + Duration::from_secs(1000));
        let other_clock = Clock::new(later);
        other.set(bucket(100, 2000, 50));
        other.set_level(level, other_clock.at(later));
        assert_eq!(other.level(other_clock.at(later)), level);
        assert_eq!(gone(&other, other_clock, later).0, 81);

        let more = Level { once: u64::MAX, owed_ns: 0 };
        other.set(bucket(10, 1000, 7));
        other.set_level(more, other_clock.at(later));
        assert_eq!(gone(&other, other_clock, later).0, 7 + 11);
    }

    #[test]
    fn slower_than_one_a_second_is_a_rate_too() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(bucket(1, 60_000, 0));
        let (_, next) = gone(&rate, clock, start);
        assert_eq!(next - start, Duration::from_secs(60));
    }

    #[test]
    fn no_level_stops_a_rate_for_good() {
        let start = Instant::now();
        let clock = Clock::new(start);
        let hostile = Level { once: u64::MAX, owed_ns: u64::MAX };
        for (quota, once) in [(steady(1000), 0), (bucket(10, u64::MAX, 5), 5)] {
            let rate = Rate::default();
            rate.set(quota);
            rate.set_level(hostile, clock.at(start));
            assert_eq!(rate.level(clock.at(start)).once, once);
            rate.charge(once, clock.at(start));
            let most = start + Duration::from_secs(3600);
            assert!(rate.wait(clock.at(start)).after(start) <= most);
            assert!(rate.wait(clock.at(most)).is_zero());
        }
    }

    #[test]
    fn what_is_too_much_for_the_clock_is_waited_for_as_long_as_it_lasts() {
        let rate = Rate::default();
        rate.set(bucket(1, u64::MAX, 0));
        rate.charge(u64::MAX, Ticks(5));
        rate.charge(u64::MAX, Ticks(5));
        assert_eq!(rate.wait(Ticks(5)), Ticks(0), "its burst is as long");
        rate.set(steady(1));
        rate.charge(u64::MAX, Ticks(5));
        assert!(rate.wait(Ticks(5)) > Ticks(u64::MAX / 2));
    }

    #[test]
    fn a_quota_is_a_number_or_a_bucket() {
        let text = |quota| serde_json::to_string(&quota).unwrap();
        assert_eq!(text(steady(7)), "7");
        let full = text(bucket(7, 100, 3));
        assert_eq!(full, r#"{"size":7,"refill_time":100,"one_time_burst":3}"#);
        assert_eq!(serde_json::from_str::<Option<Quota>>(&full).unwrap(), bucket(7, 100, 3));
        for wrong in ["0", "-1", r#"{"size":7}"#, r#"{"size":0,"refill_time":1}"#] {
            assert!(serde_json::from_str::<Quota>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_larger_than_a_burst_goes_at_once_and_is_waited_for_afterwards() {
        let (rate, start) = (Rate::default(), Instant::now());
        let clock = Clock::new(start);
        rate.set(steady(1000));
        assert!(rate.wait(clock.at(start)).is_zero());
        rate.charge(500, clock.at(start));
        let until = rate.wait(clock.at(start)).after(start);
        assert_eq!(until - start, Duration::from_millis(490));
        assert!(rate.wait(clock.at(until)).is_zero());
    }

    #[test]
    fn rounding_of_the_smallest_frames_stays_far_below_a_percent() {
        let rate = Rate::default();
        rate.set(steady(400_000_000_000));
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
        rate.set(steady(1));
        rate.charge(1_000_000, clock.at(start));
        assert!(!rate.wait(clock.at(start)).is_zero());
        rate.set(steady(1));
        assert!(rate.wait(clock.at(start)).is_zero());
        rate.charge(1_000_000, clock.at(start));
        rate.set(None);
        assert!(rate.is_free() && rate.wait(clock.at(start)).is_zero());
    }
}

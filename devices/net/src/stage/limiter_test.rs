//! Tests of limits over simulated time.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::frame::{Gso, GsoKind};
use device_core::rate::Quota;

const PLAIN: FrameMeta = FrameMeta { csum: crate::frame::Csum::Unknown, gso: None, hash: None };

struct Fixture {
    limiter: Limiter,
    start: Instant,
}

impl Fixture {
    fn with(limits: Allowed) -> Fixture {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        limiter.set(&limits);
        Fixture { limiter, start }
    }

    /// Bytes and packets that get through in `seconds` if `lanes` lanes try as hard as they can,
    /// each waiting as long as it is told.
    fn flood(
        &self,
        way: Way,
        lanes: usize,
        len: usize,
        meta: &FrameMeta,
        seconds: u64,
    ) -> (u64, u64) {
        let end = self.start + Duration::from_secs(seconds);
        let mut due = vec![self.start; lanes];
        let (mut bytes, mut frames) = (0, 0);
        loop {
            let lane = (0..lanes).min_by_key(|lane| due[*lane]).unwrap();
            let now = due[lane];
            if now >= end {
                return (bytes, frames);
            }
            match self.limiter.ask(way, now) {
                Ok(()) => {
                    self.limiter.charge(way, meta, len, now);
                    bytes += len as u64;
                    frames += 1;
                }
                Err(wait) => {
                    assert!(wait.until > now, "waiting must end");
                    due[lane] = wait.until;
                }
            }
        }
    }
}

fn within_a_percent(got: u64, wanted: u64) {
    let (got, wanted) = (got as f64, wanted as f64);
    assert!((got / wanted - 1.0).abs() < 0.01, "{got} of {wanted}");
}

#[test]
fn bandwidth_is_met_within_a_percent_by_any_number_of_lanes() {
    for (rate, len, seconds) in [
        (1_000_000, 1514, 20),
        (10_000_000, 60, 20),
        (1_000_000_000, 1514, 5),
        (25_000_000_000, 65_549, 5),
        (400_000_000_000, 65_549, 1),
    ] {
        for lanes in [1, 7] {
            for way in [Way::In, Way::Out] {
                let it = Fixture::with(Allowed {
                    bw_in: Quota::per_second(rate),
                    bw_out: Quota::per_second(rate),
                    ..Allowed::default()
                });
                // The burst at the beginning is allowed on top.
                let (bytes, _) = it.flood(way, lanes, len, &PLAIN, seconds);
                within_a_percent(bytes * 8 - rate / 100, rate * seconds);
            }
        }
    }
}

#[test]
fn packets_are_limited_both_ways_together_and_count_as_segments() {
    let it = Fixture::with(Allowed { pps: Quota::per_second(10_000), ..Allowed::default() });
    let (_, frames) = it.flood(Way::In, 3, 60, &PLAIN, 20);
    within_a_percent(frames - 100, 200_000);
    let soon = it.start + Duration::from_secs(20);
    it.limiter.charge(Way::In, &PLAIN, 60, soon);
    assert!(it.limiter.ask(Way::Out, soon).is_err(), "what came in leaves none to go out");

    let it = Fixture::with(Allowed { pps: Quota::per_second(10_000), ..Allowed::default() });
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
    let (_, frames) = it.flood(Way::Out, 2, 54 + 1448 * 10, &FrameMeta { gso, ..PLAIN }, 20);
    within_a_percent(frames * 10 - 100, 200_000);
}

#[test]
fn packets_of_one_way_are_limited_apart_from_those_of_the_other() {
    let limits = Allowed {
        pps_in: Quota::per_second(10_000),
        pps_out: Quota::per_second(100),
        ..Allowed::default()
    };
    for (way, rate) in [(Way::In, 10_000), (Way::Out, 100)] {
        let it = Fixture::with(limits);
        let (_, frames) = it.flood(way, 3, 60, &PLAIN, 20);
        within_a_percent(frames - rate / 100, rate * 20);
    }
    let it = Fixture::with(limits);
    it.limiter.charge(Way::Out, &PLAIN, 60, it.start);
    it.limiter.charge(Way::Out, &PLAIN, 60, it.start);
    let wait = it.limiter.ask(Way::Out, it.start).unwrap_err();
    it.limiter.exceeded(Way::Out, &wait);
    assert_eq!(it.limiter.ask(Way::In, it.start), Ok(()));
    assert_eq!(it.limiter.allowances().pps_exceeded, 1);
}

#[test]
fn without_limits_everything_goes_and_nothing_is_counted() {
    let it = Fixture::with(Allowed::default());
    for _ in 0..1000 {
        assert_eq!(it.limiter.ask(Way::In, it.start), Ok(()));
        it.limiter.charge(Way::In, &PLAIN, 65_549, it.start);
    }
    assert_eq!(it.limiter.allowances(), Allowances::default());
}

#[test]
fn a_change_holds_at_once_and_forgets_old_debts() {
    let it = Fixture::with(Allowed { bw_out: Quota::per_second(8), ..Allowed::default() });
    it.limiter.charge(Way::Out, &PLAIN, 1514, it.start);
    let wait = it.limiter.ask(Way::Out, it.start).unwrap_err();
    assert_eq!(wait.until - it.start, Duration::from_millis(1_514_000 - 10));
    it.limiter.set(&Allowed { bw_out: Quota::per_second(1_000_000_000), ..Allowed::default() });
    assert_eq!(it.limiter.ask(Way::Out, it.start), Ok(()));
}

#[test]
fn each_excess_is_counted_for_its_reason() {
    let (bw_in, pps) = (Quota::per_second(1000), Quota::per_second(1));
    let bw_out = bw_in;
    let limits = Allowed { bw_in, bw_out, pps, ..Allowed::default() };
    let it = Fixture::with(Allowed { pps: None, ..limits });
    it.limiter.charge(Way::In, &PLAIN, 1500, it.start);
    let wait = it.limiter.ask(Way::In, it.start).unwrap_err();
    it.limiter.exceeded(Way::In, &wait);
    assert_eq!(it.limiter.ask(Way::Out, it.start), Ok(()));
    it.limiter.set(&limits);
    it.limiter.charge(Way::Out, &PLAIN, 1500, it.start);
    let wait = it.limiter.ask(Way::Out, it.start).unwrap_err();
    it.limiter.exceeded(Way::Out, &wait);
    let counted = it.limiter.allowances();
    let counts = (counted.bw_in_exceeded, counted.bw_out_exceeded, counted.pps_exceeded);
    assert_eq!(counts, (1, 1, 1));
}

#[test]
fn lanes_of_several_threads_share_one_limit() {
    let it = Arc::new(Fixture::with(Allowed {
        pps: Quota::per_second(1_000_000),
        ..Allowed::default()
    }));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let it = it.clone();
            std::thread::spawn(move || {
                for _ in 0..250_000 {
                    it.limiter.charge(Way::Out, &PLAIN, 60, it.start);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let wait = it.limiter.ask(Way::In, it.start).unwrap_err();
    assert_eq!(wait.until - it.start, Duration::from_millis(1000 - 10), "no charge is lost");
}

proptest! {
    #[test]
    fn no_numbers_overflow_or_stop_time(
        rates in any::<(u64, u64, u64)>(),
        steps in prop::collection::vec((any::<u64>(), any::<usize>(), any::<(u16, u16)>()), 1..50),
    ) {
        let (bw_in, bw_out, pps) = rates;
        let it = Fixture::with(Allowed {
            bw_in: Quota::per_second(bw_in),
            bw_out: Quota::per_second(bw_out),
            pps: Quota::per_second(pps),
            pps_in: Quota::per_second(pps.wrapping_add(bw_out)),
            pps_out: Quota::per_second(pps.wrapping_add(bw_in)),
            conntrack: None,
        });
        for (nanos, len, (segment, headers)) in steps {
            let now = it.start.checked_add(Duration::from_nanos(nanos)).unwrap_or(it.start);
            let gso = Some(Gso { kind: GsoKind::Udp, ecn: false, segment, headers });
            for way in [Way::In, Way::Out] {
                if let Err(wait) = it.limiter.ask(way, now) {
                    prop_assert!(wait.until >= now);
                }
                it.limiter.charge(way, &FrameMeta { gso, ..PLAIN }, len, now);
            }
        }
    }
}

//! Tests of who is waited for, and for how long.

use super::*;

const OUT: Moved = Moved { out: true, into: false };
const IN: Moved = Moved { out: false, into: true };

struct Lane {
    linger: Linger,
    now: Instant,
}

impl Lane {
    fn new() -> Lane {
        Lane { linger: Linger::new(true), now: Instant::now() }
    }

    fn works_after(&mut self, micros: u64, moved: Moved) {
        self.now += Duration::from_micros(micros);
        self.linger.worked(self.now, moved);
    }

    fn goes_on_after(&self, micros: u64) -> bool {
        self.linger.goes_on(self.now + Duration::from_micros(micros))
    }
}

#[test]
fn who_answers_soon_is_waited_for_until_it_has_answered() {
    let mut lane = Lane::new();
    lane.works_after(0, OUT);
    for _ in 0..20 {
        lane.works_after(200, IN);
        lane.works_after(20, OUT);
        assert!(!lane.goes_on_after(0));
    }
    lane.works_after(200, IN);
    assert!(lane.goes_on_after(0) && lane.goes_on_after(49));
    assert!(!lane.goes_on_after(50));
}

#[test]
fn who_sends_again_and_again_is_waited_for() {
    let mut lane = Lane::new();
    (0..20).for_each(|_| lane.works_after(30, OUT));
    assert!(lane.goes_on_after(49) && !lane.goes_on_after(50));
}

#[test]
fn who_answers_soon_but_is_seldom_asked_is_not() {
    let mut lane = Lane::new();
    for _ in 0..40 {
        lane.works_after(980, IN);
        assert!(!lane.goes_on_after(0));
        lane.works_after(20, OUT);
        assert!(!lane.goes_on_after(0));
    }
}

#[test]
fn who_only_receives_is_not() {
    let mut lane = Lane::new();
    for _ in 0..40 {
        lane.works_after(5, IN);
        assert!(!lane.goes_on_after(0));
    }
}

#[test]
fn a_few_pauses_do_not_end_it_but_many_do() {
    let mut lane = Lane::new();
    for _ in 0..20 {
        (0..9).for_each(|_| lane.works_after(10, OUT));
        lane.works_after(3000, OUT);
    }
    assert!(lane.goes_on_after(0));
    (0..5).for_each(|_| lane.works_after(3_600_000_000, OUT));
    assert!(!lane.goes_on_after(0));
    (0..20).for_each(|_| lane.works_after(10, OUT));
    assert!(lane.goes_on_after(0));
}

#[test]
fn nobody_is_waited_for_where_others_need_the_cpu() {
    let mut lane = Lane::new();
    (0..40).for_each(|_| lane.works_after(10, OUT));
    lane.linger.gave_way(Duration::from_micros(49));
    assert!(lane.goes_on_after(0), "a short look away is none");
    lane.linger.gave_way(Duration::from_micros(50));
    assert!(!lane.goes_on_after(0));
    (0..20).for_each(|_| lane.works_after(10, OUT));
    assert!(lane.goes_on_after(0), "until it is as sure as before");
}

#[test]
fn who_may_not_linger_never_does() {
    let mut lane = Lane { linger: Linger::new(false), ..Lane::new() };
    for _ in 0..40 {
        lane.works_after(1, OUT);
        assert!(!lane.goes_on_after(0));
    }
}

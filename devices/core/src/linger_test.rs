//! Tests of who is waited for, and for how long.

use super::*;

const OUT: Moved = Moved { out: true, into: 0 };
const IN: Moved = Moved { out: false, into: 1 };

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

    fn streams_in(&mut self) {
        (0..20).for_each(|_| self.works_after(5, IN));
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
fn what_streams_in_is_let_gather() {
    let mut lane = Lane::new();
    lane.streams_in();
    assert!(lane.linger.rest().is_some());
    assert_eq!(lane.linger.rest(), None, "nothing has come since");
    for _ in 0..20 {
        lane.works_after(30, Moved { out: false, into: 6 });
        assert!(lane.linger.rest().is_some());
    }
    lane.works_after(30, Moved::default());
    assert_eq!(lane.linger.rest(), None, "the stream has ended");
}

#[test]
fn rests_that_bring_a_frame_each_end() {
    let mut lane = Lane::new();
    lane.streams_in();
    let mut rests = 0;
    while lane.linger.rest().is_some() {
        lane.works_after(30, IN);
        rests += 1;
    }
    assert!((1..10).contains(&rests), "{rests}");
}

#[test]
fn nothing_gathers_for_a_guest_that_answers_each_frame_or_where_they_are_far_apart() {
    let mut lane = Lane::new();
    for _ in 0..40 {
        lane.works_after(10, IN);
        assert_eq!(lane.linger.rest(), None);
        lane.works_after(10, OUT);
        assert_eq!(lane.linger.rest(), None);
    }
    for _ in 0..40 {
        lane.works_after(60, IN);
        assert_eq!(lane.linger.rest(), None);
    }
    for _ in 0..40 {
        lane.works_after(10, Moved { out: true, into: 3 });
        assert_eq!(lane.linger.rest(), None);
    }
}

#[test]
fn nothing_gathers_where_nobody_else_could_run() {
    let mut lane = Lane { linger: Linger::new(false), now: Instant::now() };
    lane.streams_in();
    assert_eq!(lane.linger.rest(), None);
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

#[test]
fn a_glance_ends_with_what_comes_or_after_a_moment() {
    let linger = Linger::new(true);
    let mut looks = 0;
    let comes = |looks: &mut u32| {
        *looks += 1;
        *looks == 3
    };
    assert!(linger.glance(|| comes(&mut looks)));
    assert_eq!(looks, 3);
    assert!(!linger.glance(|| false));
}

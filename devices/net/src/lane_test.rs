//! Tests of a lane's two directions together, and of its turns.

use std::io::{Read, Seek};
use std::time::Duration;

use device_core::rate::Quota;
use device_core::worker::IoThread;

use super::progress::PATIENCE;
use super::testing::Fixture;
use super::*;
use crate::capture::{Capture, Subject};
use crate::control::capture::CaptureSpec;
use crate::stage::limiter::Allowed;

#[test]
fn a_tee_sees_what_is_sent_and_what_is_delivered_whole() {
    let mut it = Fixture::with_frames(1);
    let file = tempfile::tempfile().unwrap();
    let spec = CaptureSpec { snap_len: 65_535, ..CaptureSpec::default() };
    let (home, outlook) = (IoThread::by_hand().unwrap(), Arc::default());
    let subject = Subject { id: "test", backend: "script", outlook: &outlook };
    let to = file.try_clone().unwrap();
    let (mut capture, tees) = Capture::begin(to, spec, &[0], &subject, &home).unwrap();
    it.lane.path.tee = tees.into_iter().next().map(Box::new);
    it.lane.pump_tx(it.at(0));
    // One that fits, and one that waits for its second buffer and comes in part from the spill.
    it.rx().posted.extend([1000, 1000]);
    it.stage.bring(vec![7; 900]);
    it.stage.bring([vec![8; 900], vec![9; 1100]].concat());
    it.lane.pump_rx(it.at(0));
    it.rx().posted.push_back(4000);
    it.lane.pump_rx(it.at(1));
    assert_eq!(it.rx().delivered, [900, 2000]);
    it.lane.path.tee = None;
    capture.finish();
    assert_eq!(capture.state().frames, 3);
    let mut written = Vec::new();
    (&file).rewind().unwrap();
    (&file).read_to_end(&mut written).unwrap();
    for frame in [vec![0; 60], vec![7; 900], [vec![8; 900], vec![9; 1100]].concat()] {
        assert!(written.windows(frame.len()).any(|part| part == frame), "{}", frame.len());
    }
}

#[test]
fn a_new_ring_does_not_inherit_the_patience_of_the_old_one() {
    let mut it = Fixture::with_frames(2);
    it.lane
        .path
        .pipeline
        .limiter
        .set(&Allowed { bw_out: Quota::per_second(8), ..Allowed::default() });
    let now = Instant::now();
    assert_eq!(it.lane.pump_tx(now), Progress::Wait(now + PATIENCE));
    let thread = device_core::worker::IoThread::by_hand().unwrap();
    let post = thread.host(it.lane).unwrap();
    let late = now + PATIENCE;
    let progress = post.ask(move |lane, interest| {
        let ring = lane.tx_ring.ring.take().unwrap();
        lane.plug_tx(ring, interest).unwrap();
        let ring = lane.unplug_tx(interest).unwrap();
        lane.plug_tx(ring, interest).unwrap();
        lane.pump_tx(late)
    });
    assert_eq!(progress, Progress::Wait(late + PATIENCE));
}

#[test]
fn an_interrupt_put_off_brings_a_turn_at_its_time() {
    let mut it = Fixture::with_frames(0);
    let (start, then) = (it.at(0), it.at(700_000));
    it.tx().interrupt_at = Some(then);
    it.tx().published.push(0); // nothing is new
    let thread = device_core::worker::IoThread::by_hand().unwrap();
    let post = thread.host(it.lane).unwrap();
    let again =
        post.ask(move |lane, interest| [lane.run(start, interest), lane.run(then, interest)]);
    assert_eq!(again[0], Again::At(then));
    assert_ne!(again[1], Again::At(then));
    let fired = post.ask(|lane, _| lane.path.pipeline.counters.interrupts.get());
    assert_eq!(fired, 1);
}

/// Turns at any times, with and without frames either way.
#[test]
fn a_lane_never_sleeps_while_its_guest_need_not_kick() {
    let mut it = Fixture::with_frames(0);
    it.lane.may_linger();
    let (mut now, stage) = (it.at(0), it.stage.clone());
    let post = IoThread::by_hand().unwrap().host(it.lane).unwrap();
    let (lingered, slept) = post.ask(move |lane, interest| {
        let (mut lingered, mut slept, mut random) = (0, 0, 1u64);
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = random >> 33;
            let most = if dice.is_multiple_of(64) { 3000 } else { 30 };
            now += Duration::from_micros(dice / 64 % most);
            if dice.is_multiple_of(3) {
                lane.tx_ring.ring.as_mut().unwrap().lens.push_back(60);
            }
            if dice.is_multiple_of(5) {
                lane.rx_ring.ring.as_mut().unwrap().posted.push_back(2000);
                stage.bring(vec![1; 60]);
                lane.ready(BACKEND, EventSet::IN);
            }
            match lane.run(now, interest) {
                Again::Now | Again::Unheard => lingered += 1,
                // Soon over, whatever the guest does.
                Again::Rest(_) => {}
                Again::At(_) | Again::WhenReady => {
                    slept += 1;
                    assert!(lane.tx_ring.ring.as_ref().unwrap().armed);
                }
            }
        }
        (lingered, slept)
    });
    assert!(lingered > 1000 && slept > 1000, "{lingered} and {slept}");
}

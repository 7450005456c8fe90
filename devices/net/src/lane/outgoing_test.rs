//! Tests of a lane's transmit side: budgets, bursts, frames that wait and are given up.

use std::time::Duration;

use device_core::rate::Quota;
use device_core::worker::{EventSet, Worker};

use super::*;
use crate::lane::BACKEND;
use crate::lane::burst::BUDGET_BYTES;
use crate::lane::progress::PATIENCE;
use crate::lane::testing::Fixture;
use crate::stage::limiter::Allowed;

#[test]
fn a_frame_that_waited_a_second_is_dropped_and_its_buffer_comes_back() {
    let mut it = Fixture::with_frames(2);
    it.stage.set_blocked(true);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Wait(deadline));
    // Until something changes the backend is not even asked.
    assert_eq!(it.lane.pump_tx(it.at(999)), Progress::Wait(deadline));
    assert_eq!(it.stage.scene().sends, 1);
    assert!(it.tx().completed.is_empty());

    assert_eq!(it.lane.pump_tx(it.at(1000)), Progress::Idle);
    assert_eq!(it.tx().completed, [0, 1]);
    assert_eq!((it.count("tx_blocked"), it.count("tx_frames")), (2, 0));
}

#[test]
fn a_backend_with_room_again_is_used_again() {
    let mut it = Fixture::with_frames(1);
    it.stage.set_blocked(true);
    it.lane.pump_tx(it.at(0));
    it.lane.pump_tx(it.at(1000));
    it.stage.set_blocked(false);
    it.tx().lens.extend([60, 60]);
    it.lane.ready(BACKEND, EventSet::OUT);
    assert_eq!(it.lane.pump_tx(it.at(1001)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 2);
    // The next blockade has a second of its own.
    it.stage.set_blocked(true);
    it.tx().lens.push_back(60);
    let deadline = it.at(6000);
    assert_eq!(it.lane.pump_tx(it.at(5000)), Progress::Wait(deadline));
}

#[test]
fn a_turn_ends_with_its_budget_and_shows_frames_in_bursts() {
    let mut it = Fixture::with_frames(300);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.stage.take_sent().len(), BUDGET);
    assert_eq!(it.tx().published, (1..=8).map(|burst| burst * 32).collect::<Vec<_>>());
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 44);
    assert_eq!(it.tx().published.last(), Some(&300));
}

#[test]
fn a_fault_of_the_guest_shows_what_is_done_and_gives_the_ring_up() {
    let mut it = Fixture::with_frames(5);
    it.tx().fault_at = Some(3);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.tx().published, [3]);
    assert!(it.tx().broken);
    it.tx().fault_at = None;
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 3, "a ring that was given up is left alone");
}

#[test]
fn a_turn_ends_with_its_bytes_too() {
    let mut it = Fixture::with_frames(0);
    it.tx().lens.extend([60_000; 40]);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.stage.take_sent().len(), BUDGET_BYTES.div_ceil(60_000));
    assert_eq!(it.tx().published, (1..=18).collect::<Vec<_>>(), "each large frame by itself");
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::More);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 22);
}

#[test]
fn a_limit_holds_frames_back_until_their_time_and_counts_each_once() {
    let mut it = Fixture::with_frames(3);
    // One packet per 100 ms; the first may go at once.
    let limiter = it.lane.path.pipeline.limiter.clone();
    limiter.set(&Allowed { pps: Quota::per_second(10), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert_eq!(it.stage.take_sent().len(), 1);
    let wait = until - now;
    assert!(Duration::from_millis(89) < wait && wait < Duration::from_millis(91), "{wait:?}");
    // Nothing is even looked at before.
    assert_eq!(it.lane.pump_tx(now + wait / 2), Progress::Wait(until));
    assert_eq!(limiter.allowances().pps_exceeded, 1);
    assert!(matches!(it.lane.pump_tx(until), Progress::Wait(_)));
    assert_eq!(it.stage.take_sent().len(), 1);
    assert_eq!(limiter.allowances().pps_exceeded, 2);
    assert_eq!(it.count("tx_throttled"), 0);
}

#[test]
fn a_frame_held_back_for_a_second_is_given_up_and_its_buffer_comes_back() {
    let mut it = Fixture::with_frames(2);
    let limiter = it.lane.path.pipeline.limiter.clone();
    limiter.set(&Allowed { bw_out: Quota::per_second(8), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert_eq!(until, now + PATIENCE);
    assert_eq!(it.lane.pump_tx(until), Progress::Idle);
    assert_eq!(it.tx().completed, [0, 1]);
    assert_eq!((it.count("tx_frames"), it.count("tx_throttled")), (1, 1));
}

#[test]
fn a_limit_gives_no_turn_for_each_frame() {
    let mut it = Fixture::with_frames(200);
    // A frame each 100 us, of which 10 ms' worth go at once.
    it.lane
        .path
        .pipeline
        .limiter
        .set(&Allowed { pps: Quota::per_second(10_000), ..Allowed::default() });
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_tx(now) else { panic!("it must wait") };
    assert!(until >= now + Duration::from_millis(1));
    let before = it.stage.take_sent().len();
    it.lane.pump_tx(until);
    let then = it.stage.take_sent().len();
    assert!(before >= 100 && then >= 9, "{before} {then}");
}

#[test]
fn frames_that_a_backend_keeps_are_gone_before_their_buffers_are_given_back() {
    let mut it = Fixture::with_frames(70);
    it.stage.scene().keeps = true;
    it.stage.scene().refuses = 3;
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.tx().published, [32, 64, 70]);
    let sent = it.stage.take_sent();
    assert_eq!(sent.len(), 67);
    assert!(sent.iter().zip(3..).all(|(frame, number)| frame.bytes == [number; 60]), "in order");
    assert_eq!((it.count("tx_frames"), it.count("tx_bytes")), (67, 67 * 60));
    assert_eq!(it.count("tx_refused"), 3);
}

#[test]
fn frames_before_a_fault_of_the_guest_are_not_kept_for_ever() {
    let mut it = Fixture::with_frames(5);
    it.stage.scene().keeps = true;
    it.tx().fault_at = Some(3);
    assert_eq!(it.lane.pump_tx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.take_sent().len(), 3);
    assert_eq!(it.tx().published, [3]);
}

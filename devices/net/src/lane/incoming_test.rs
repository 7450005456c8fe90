//! Tests of a lane's receive side: frames that wait for buffers, are cut, or find nobody.

use std::io;

use device_core::rate::Quota;
use device_core::testing::ram;
use device_core::worker::{EventSet, Worker};

use super::*;
use crate::backend::script::WireFrame;
use crate::frame::{Csum, FrameMeta, Gso, GsoKind};
use crate::lane::BACKEND;
use crate::lane::burst::BUDGET_BYTES;
use crate::lane::testing::Fixture;
use crate::stage::limiter::Allowed;
use crate::stage::segment::CUT;
use crate::wire::testing::{Build, frame};

#[test]
fn a_frame_held_for_more_buffers_is_lost_with_the_cable() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(1000);
    it.stage.bring(vec![1; 3000]);
    it.stage.bring(vec![2; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    it.lane.path.link.pull(true);
    it.lane.cable_changed(ram(0x1000));
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Idle);
    assert_eq!(it.count("rx_no_link"), 2);
    it.lane.path.link.pull(false);
    it.lane.cable_changed(ram(0x1000));
    it.rx().posted.extend([4000, 4000]);
    it.stage.bring(vec![3; 61]);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert_eq!(it.rx().delivered, [61]);
}

#[test]
fn a_frame_held_for_a_second_makes_way_for_the_next() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(2048);
    it.stage.bring(vec![0xff; 9000]);
    it.stage.bring(vec![0xff; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    assert_eq!(it.lane.pump_rx(it.at(999)), Progress::Wait(deadline));
    assert_eq!(it.lane.pump_rx(it.at(1000)), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
    assert_eq!(it.count("rx_too_large"), 1);
}

/// A TCP frame of `len` payload bytes in segments of 1448.
fn large(len: usize) -> WireFrame {
    let bytes = frame(&Build { payload: len, ..Build::default() });
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
    let csum = Csum::Needed { start: 34, offset: 16 };
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes }
}

/// A lane of a card that has no word for large frames.
fn cutting() -> Fixture<true> {
    let mut it = Fixture::of(0);
    it.lane.path.pipeline.accepted = CUT;
    it
}

#[test]
fn a_large_frame_comes_in_pieces_as_there_are_buffers_for_them() {
    let mut it = cutting();
    it.rx().posted.extend([2048, 2048]);
    it.stage.bring(large(5000));
    it.stage.bring(vec![2; 60]);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    assert_eq!(it.rx().delivered, [1502, 1502]);
    assert_eq!(it.count("rx_no_buffers"), 1);
    // One buffer is not enough for a piece, and then the rest comes, and the next frame after it.
    it.rx().posted.push_back(1000);
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Wait(deadline));
    it.rx().posted.extend([2048; 8]);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert_eq!(it.rx().delivered, [1502, 1502, 1502, 54 + 5000 - 3 * 1448, 60]);
    assert_eq!((it.count("rx_frames"), it.count("rx_bytes")), (5, 5000 + 4 * 54 + 60));
}

#[test]
fn what_is_left_of_a_large_frame_is_lost_after_a_second_or_with_the_ring() {
    for unplugged in [false, true] {
        let mut it = cutting();
        it.rx().posted.push_back(2048);
        it.stage.bring(large(60_000));
        it.stage.bring(vec![2; 60]);
        it.lane.pump_rx(it.at(0));
        if unplugged {
            assert!(it.lane.rx.forget_frame());
        }
        it.rx().posted.push_back(100);
        it.lane.pump_rx(it.at(1000));
        it.rx().posted.extend([2048; 8]);
        it.lane.pump_rx(it.at(1001));
        assert_eq!(it.rx().delivered, [1502, 60]);
        assert_eq!(it.count("rx_too_large"), u64::from(!unplugged));
    }
}

#[test]
fn pieces_longer_than_the_guests_mtu_are_dropped() {
    let mut it = cutting();
    it.lane.path.pipeline.mtu = 1487;
    it.rx().posted.extend([2048; 8]);
    it.stage.bring(large(5000));
    it.stage.bring(vec![2; 60]);
    it.lane.pump_rx(it.at(0));
    it.lane.path.pipeline.mtu = 1488;
    it.stage.bring(large(1448));
    it.lane.ready(BACKEND, EventSet::IN);
    it.lane.pump_rx(it.at(1));
    assert_eq!(it.rx().delivered, [60, 1502]);
    assert_eq!(it.count("rx_too_large"), 1);
}

#[test]
fn a_turn_ends_in_the_middle_of_a_frame_of_many_pieces() {
    let mut it = cutting();
    it.rx().posted.extend([2048; 600]);
    let mut small = large(10_000);
    small.meta.gso.as_mut().unwrap().segment = 20;
    it.stage.bring(small);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::More);
    assert!(it.rx().delivered.len() < BUDGET);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.rx().delivered, [74; 500]);
}

#[test]
fn a_turn_ends_with_its_bytes_in_pieces_too() {
    let mut it = cutting();
    it.rx().posted.extend([2048; 1000]);
    for _ in 0..20 {
        let mut jumbo = large(60_000);
        jumbo.meta.gso.as_mut().unwrap().segment = 8_900;
        it.stage.bring(jumbo);
    }
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::More);
    let bytes: usize = it.rx().delivered.iter().sum();
    assert!((BUDGET_BYTES..BUDGET_BYTES + 9_000).contains(&bytes), "{bytes}");
}

#[test]
fn pauses_after_errors_grow_to_a_second_and_end_with_success() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.push_back(2048);
    let error = || QueueError::Transient(io::Error::from(io::ErrorKind::OutOfMemory));
    it.stage.scene().recv_errors.extend((0..10).map(|_| error()));
    let mut now = it.at(0);
    let mut pauses = Vec::new();
    while let Progress::Wait(until) = it.lane.pump_rx(now) {
        pauses.push((until - now).as_millis());
        assert_eq!(it.lane.pump_rx(now), Progress::Wait(until), "no call before the pause ends");
        now = until;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    it.stage.bring(vec![0xff; 60]);
    it.lane.ready(BACKEND, EventSet::IN);
    it.stage.scene().recv_errors.push_back(error());
    let until = now + Duration::from_millis(10);
    assert_eq!(it.lane.pump_rx(now), Progress::Wait(until));
    assert_eq!(it.lane.pump_rx(until), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
}

#[test]
fn a_backend_in_error_is_asked_even_if_the_guest_has_no_buffers() {
    let mut it = Fixture::with_frames(0);
    it.stage.bring(vec![0xff; 60]);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().recvs, 0);
    // A false alarm: the frame that comes with it waits for a buffer.
    it.lane.ready(BACKEND, EventSet::ERROR);
    let deadline = it.at(1000);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Wait(deadline));
    it.rx().posted.push_back(2048);
    assert_eq!(it.lane.pump_rx(it.at(1)), Progress::Idle);
    assert_eq!(it.rx().delivered, [60]);
    // And a true one.
    let gone = QueueError::Gone(io::Error::from(io::ErrorKind::NotFound));
    it.stage.scene().recv_errors.push_back(gone);
    it.lane.ready(BACKEND, EventSet::ERROR | EventSet::HANG_UP);
    assert_eq!(it.lane.pump_rx(it.at(2)), Progress::Idle);
    assert!(!it.lane.path.link.is_up());
}

#[test]
fn room_for_large_frames_is_offered_while_they_come() {
    let mut want = Want::default();
    assert_eq!(want.bytes(), ORDINARY);
    want.learn(ORDINARY + 1);
    for _ in 0..CALM {
        assert_eq!(want.bytes(), MAX_FRAME);
        want.learn(60);
    }
    assert_eq!(want.bytes(), ORDINARY);
}

#[test]
fn a_limit_leaves_frames_in_the_backend_until_their_time() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.extend([2048; 4]);
    let limiter = it.lane.path.pipeline.limiter.clone();
    limiter.set(&Allowed { bw_in: Quota::per_second(60 * 8 * 10), ..Allowed::default() });
    for _ in 0..3 {
        it.stage.bring(vec![0xff; 60]);
    }
    let now = Instant::now();
    let Progress::Wait(until) = it.lane.pump_rx(now) else { panic!("it must wait") };
    assert_eq!((it.rx().delivered.len(), it.stage.scene().incoming.len()), (1, 2));
    assert_eq!(limiter.allowances().bw_in_exceeded, 1);
    // A new limit is heard at once.
    limiter.set(&Allowed::default());
    it.lane.limits_changed();
    assert_eq!(it.lane.pump_rx(now), Progress::Idle);
    assert_eq!(it.rx().delivered.len(), 3);
    assert!(until > now);
}

#[test]
fn connections_beyond_those_allowed_are_lost_and_counted() {
    let mut it = Fixture::with_frames(0);
    it.rx().posted.extend([2048; 4]);
    it.lane.path.pipeline.limiter.set(&Allowed { conntrack: Some(1), ..Allowed::default() });
    it.lane.limits_changed();
    for port in [1, 2, 1] {
        let mut frame = vec![0; 60];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[23] = 17;
        frame[35] = port;
        it.stage.bring(frame);
    }
    it.lane.pump_rx(it.at(0));
    assert_eq!(it.rx().delivered.len(), 2);
    assert_eq!(it.count("rx_untracked"), 1);
    assert_eq!(it.lane.path.pipeline.limiter.allowances().conntrack_exceeded, 1);
}

#[test]
fn frames_steered_to_a_lane_without_a_ring_are_thrown_away() {
    let mut it = Fixture::with_frames(0);
    it.lane.rx_ring.ring = None;
    it.stage.bring(vec![0xff; 60]);
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().incoming.len(), 1, "else they wait for a ring");
    it.lane.drain(true, ram(0x1000));
    assert_eq!(it.lane.pump_rx(it.at(0)), Progress::Idle);
    assert_eq!(it.stage.scene().incoming.len(), 0);
    assert_eq!(it.count("rx_no_ring"), 1);
}

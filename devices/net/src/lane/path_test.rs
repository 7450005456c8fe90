//! Tests of a service on a lane's path: what it takes, what it brings, and that nobody else is in its way.

use std::io::{Read, Seek};

use device_core::rate::Quota;
use device_core::worker::IoThread;

use super::*;
use crate::announce;
use crate::capture::{Capture, Subject};
use crate::control::capture::CaptureSpec;
use crate::lane::progress::Progress;
use crate::lane::testing::Fixture;
use crate::neighbour::Neighbour;
use crate::service::Shares;
use crate::service::metadata::{IPV4_ADDRESS, Settings};
use crate::service::testing::{Client, get, metadata};
use crate::stage::limiter::Allowed;
use crate::stage::rewrite::Sides;
use crate::wire::testing::{Build, frame};

/// A lane with a service, and a guest that has posted buffers.
fn served<const FINISHED: bool>() -> Fixture<FINISHED> {
    let mut it = Fixture::of(0);
    let service = Shares::new(&metadata(Settings::default(), r#"{"a":"b"}"#), 1).unwrap().of(0);
    it.lane.path.service = service.map(Box::new);
    it.rx().posted.extend([2048; 64]);
    it
}

/// The guest sends a frame, and the lane has a turn of each direction; what the guest gets.
fn turn<const FINISHED: bool>(it: &mut Fixture<FINISHED>, frame: Vec<u8>, ms: u64) -> Vec<Vec<u8>> {
    it.tx().whole.push_back(frame);
    let now = it.at(ms);
    assert_eq!(it.lane.pump_tx(now), Progress::Idle);
    it.lane.pump_rx(now);
    std::mem::take(&mut it.rx().bytes)
}

/// A whole request, and what the guest reads.
fn ask<const FINISHED: bool>(it: &mut Fixture<FINISHED>, client: &mut Client) -> String {
    for frame in turn(it, client.syn(), 0) {
        client.hear(&frame);
    }
    let request = client.send(&get("/a"));
    let heard = turn(it, request, 0);
    let payload = heard.iter().flat_map(|frame| client.hear(frame).payload);
    String::from_utf8(payload.collect()).unwrap()
}

#[test]
fn a_request_is_answered_in_the_turn_it_is_sent_in_and_nobody_else_sees_it() {
    let mut it = served::<false>();
    assert!(ask(&mut it, &mut Client::new(40_000)).ends_with("\r\n\r\nb"));
    assert!(it.stage.take_sent().is_empty());
    assert_eq!(it.tx().completed.len(), 2, "the guest has its buffers back");
    assert_eq!((it.count("tx_frames"), it.count("rx_frames")), (0, 2));
}

#[test]
fn a_card_that_wants_finished_frames_gets_them() {
    let mut it = served::<true>();
    let mut client = Client { v6: true, ..Client::new(40_000) };
    assert!(ask(&mut it, &mut client).ends_with("\r\n\r\nb"));
    assert!(it.stage.take_sent().is_empty());
}

#[test]
fn without_a_service_its_frames_are_like_any() {
    let mut it = Fixture::with_frames(0);
    let syn = Client::new(1).syn();
    assert!(turn(&mut it, syn.clone(), 0).is_empty());
    assert_eq!(it.stage.take_sent().len(), 1);
    it.rx().posted.push_back(2048);
    let mut from_elsewhere = syn;
    from_elsewhere[26..30].copy_from_slice(&IPV4_ADDRESS.octets());
    it.stage.bring(from_elsewhere);
    it.lane.pump_rx(it.at(0));
    assert_eq!(it.rx().delivered.len(), 1);
}

#[test]
fn other_frames_pass_in_order() {
    let mut it = served::<false>();
    let others = [frame(&Build::default()), frame(&Build { v6: true, ..Build::default() })];
    let [one, other] = others.clone();
    it.tx().whole.extend([one, Client::new(1).syn(), other]);
    it.lane.pump_tx(it.at(0));
    let sent: Vec<_> = it.stage.take_sent().into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(sent, others);
    it.stage.bring(sent[0].clone());
    it.lane.pump_rx(it.at(0));
    assert_eq!(it.rx().bytes.len(), 2);
    assert_eq!(it.rx().bytes[1], others[0]);
}

#[test]
fn nobody_on_the_network_speaks_in_its_place() {
    let mut it = served::<false>();
    let mut impostor = frame(&Build::default());
    impostor[26..30].copy_from_slice(&IPV4_ADDRESS.octets());
    it.stage.bring(impostor);
    it.stage.bring(frame(&Build::default()));
    it.lane.pump_rx(it.at(0));
    assert_eq!((it.rx().delivered.len(), it.count("rx_refused")), (1, 1));
}

#[test]
fn a_guest_gets_answers_whatever_the_host_does() {
    let mut it = served::<false>();
    // No room for what is sent, nothing but errors of what is received, and no connection allowed.
    it.stage.set_blocked(true);
    it.stage
        .scene()
        .recv_errors
        .push_back(crate::backend::QueueError::Transient(io::Error::other("as the test wants")));
    let now = it.at(0);
    assert!(matches!(it.lane.pump_rx(now), Progress::Wait(_)));
    let path = &mut it.lane.path;
    path.pipeline.limiter.set(&Allowed {
        bw_out: Quota::per_second(8),
        conntrack: Some(1),
        ..Allowed::default()
    });
    it.lane.limits_changed();
    assert!(ask(&mut it, &mut Client::new(40_000)).ends_with("b"));
    assert!(ask(&mut it, &mut Client::new(40_001)).ends_with("b"));
}

#[test]
fn answers_are_limited_as_all_that_comes() {
    let mut it = served::<false>();
    it.lane
        .path
        .pipeline
        .limiter
        .set(&Allowed { bw_in: Quota::per_second(80_000), ..Allowed::default() });
    it.lane.limits_changed();
    let mut comes = 0;
    for port in 0..20 {
        comes += turn(&mut it, Client::new(port).syn(), 0).len();
    }
    assert!(comes < 5, "{comes}");
    let later = it.at(1000);
    it.lane.pump_rx(later);
    assert!(!it.rx().bytes.is_empty());
}

#[test]
fn answers_wait_for_buffers() {
    let mut it = served::<false>();
    it.rx().posted.clear();
    let mut client = Client::new(40_000);
    assert!(turn(&mut it, client.syn(), 0).is_empty());
    it.rx().posted.push_back(2048);
    it.lane.pump_rx(it.at(0));
    let frame = it.rx().bytes.remove(0);
    assert!(client.hear(&frame).syn);
}

#[test]
fn a_guest_without_a_cable_has_no_service() {
    let mut it = served::<false>();
    it.lane.path.link.pull(true);
    assert!(turn(&mut it, Client::new(1).syn(), 0).is_empty());
    assert_eq!(it.count("tx_no_link"), 1);
}

#[test]
fn a_capture_shows_both_sides() {
    let mut it = served::<false>();
    let syn = Client::new(1).syn();
    let mut heard = Vec::new();
    let written = captured(&mut it, |it| heard = turn(it, syn.clone(), 0));
    for frame in [&syn, &heard[0]] {
        assert!(written.windows(frame.len()).any(|part| part == *frame));
    }
}

/// What was captured of a lane meanwhile, as the file has it.
fn captured<const FINISHED: bool>(
    it: &mut Fixture<FINISHED>,
    meanwhile: impl FnOnce(&mut Fixture<FINISHED>),
) -> Vec<u8> {
    let file = tempfile::tempfile().unwrap();
    let spec = CaptureSpec { snap_len: 65_535, ..CaptureSpec::default() };
    let (home, outlook) = (IoThread::by_hand().unwrap(), Arc::default());
    let subject = Subject { id: "test", backend: "script", outlook: &outlook };
    let (mut capture, tees) =
        Capture::begin(file.try_clone().unwrap(), spec, &[0], &subject, &home).unwrap();
    it.lane.path.tee = tees.into_iter().next().map(Box::new);
    meanwhile(it);
    it.lane.path.tee = None;
    capture.finish();
    let mut written = Vec::new();
    (&file).rewind().unwrap();
    (&file).read_to_end(&mut written).unwrap();
    written
}

#[test]
fn the_wire_sees_other_addresses_than_the_guest_has_and_a_capture_shows_those() {
    let mut it = Fixture::with_frames(0);
    let (inside, outside) = (MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([6, 0, 0, 0, 0, 7]));
    let ip = Sides { inside: [10, 0, 0, 1].into(), outside: [10, 9, 9, 9].into() };
    let rewrite = Rewrite::new(Sides { inside, outside }, Some(ip));
    it.lane.path.rewrite = Some(rewrite);
    it.rx().posted.extend([2048; 4]);
    let own = frame(&Build { payload: 600, ..Build::default() });
    let written = captured(&mut it, |it| {
        // What has no room at first goes out as what was asked for, and not as what it would be twice.
        it.stage.set_blocked(true);
        it.tx().whole.push_back(own.clone());
        it.lane.pump_tx(it.at(0));
        assert!(it.stage.take_sent().is_empty());
        it.stage.set_blocked(false);
        it.tx().whole.push_back(own.clone());
        it.lane.tx.may_write();
        it.lane.pump_tx(it.at(0));
        let sent = it.stage.take_sent();
        assert_eq!(
            (&sent[0].bytes[6..12], &sent[0].bytes[26..30]),
            (&outside.0[..], &[10, 9, 9, 9][..])
        );
        assert_eq!(sent[0].bytes[128..], own[128..]);
        it.stage.bring(sent[0].bytes.clone());
        it.lane.pump_rx(it.at(0));
        assert_eq!(it.rx().bytes, std::slice::from_ref(&own));
    });
    let count = written.windows(own.len()).filter(|part| *part == own).count();
    assert_eq!(count, 2, "one each way");
}

#[test]
fn addresses_are_announced_as_the_wire_sees_them_and_remembered_as_the_guest_has_them() {
    let mut it = Fixture::with_frames(0);
    let (inside, outside) = (MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([6, 0, 0, 0, 0, 7]));
    let one = Neighbour { mac: inside, ip: [10, 0, 0, 1].into() };
    it.tx().whole.push_back(announce::frame(&one));
    it.lane.pump_tx(it.at(0));
    assert_eq!(it.stage.take_sent()[0].bytes, announce::frame(&one));
    assert_eq!(it.lane.path.neighbours.iter().collect::<Vec<_>>(), [one]);

    let ip = Sides { inside: [10, 0, 0, 1].into(), outside: [10, 9, 9, 9].into() };
    it.lane.path.rewrite = Some(Rewrite::new(Sides { inside, outside }, Some(ip)));
    it.lane.announce(&[announce::frame(&one)]);
    let seen = Neighbour { mac: outside, ip: [10, 9, 9, 9].into() };
    assert_eq!(it.stage.take_sent()[0].bytes, announce::frame(&seen));
    assert_eq!(it.lane.path.neighbours.iter().collect::<Vec<_>>(), [one]);
    it.lane.path.link.pull(true);
    it.lane.announce(&[announce::frame(&one)]);
    assert!(it.stage.take_sent().is_empty());
}

#[test]
fn a_lane_comes_back_for_what_was_lost() {
    let mut it = served::<false>();
    let mut client = Client::new(40_000);
    for frame in turn(&mut it, client.syn(), 0) {
        client.hear(&frame);
    }
    let service = it.lane.path.service.as_mut().unwrap();
    let due = service.deadline().unwrap();
    service.poll(due);
    it.lane.pump_rx(due);
    let again = it.rx().bytes.remove(0);
    assert!(client.hear(&again).syn);
}

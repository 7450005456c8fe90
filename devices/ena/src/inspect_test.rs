//! Inspection and faults on demand, as their caller sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use net::control::NicEvent;
use net::control::capture::{CaptureEnd, CaptureSpec};
use net::control::inspect::Reset;
use net::control::latency::Latency;
use net::rss::{Protocol, Steering};
use net::stage::limiter::Allowed;

use super::*;
use crate::Hints;
use crate::testing::bench::{Bench, MAC, MAX_MTU};
use crate::testing::driver::{Driver, FATAL, transmit};

const FRAME: [u8; 60] = [0x11; 60];

#[test]
fn an_inspection_shows_what_the_driver_set() {
    let mut driver = Driver::probed(2);
    assert_eq!(driver.bench.card.inspect().condition, Condition::Idle);
    let tx = driver.create_llq(512, 1);
    driver.create_rx(1024, 1);
    driver.bench.write(tx.doorbell, 0);
    let seen = driver.bench.card.inspect();
    assert_eq!((seen.condition, seen.resets), (Condition::Running, 1));
    assert_eq!((seen.id.as_str(), seen.backend.as_str()), ("test", "script"));
    assert_eq!((seen.mac, seen.max_mtu, seen.link_up), (MAC, Some(MAX_MTU), true));
    assert_eq!(seen.steering, Some(Steering::Exact));
    let admin: Vec<_> = seen.management.iter().map(|ring| (ring.name, ring.entries)).collect();
    assert_eq!(admin, [("commands", 32), ("answers", 32), ("events", 16)]);
    let [first, second] = &seen.pairs[..] else { panic!("two pairs") };
    let (sender, receiver) = (first.tx.as_ref().unwrap(), first.rx.as_ref().unwrap());
    assert_eq!((sender.entries, sender.entry_bytes, sender.place), (512, 128, Place::Card));
    assert_eq!((receiver.entries, receiver.vector), (1024, Some(1)));
    assert_eq!((receiver.place, receiver.offered), (Place::Ram, Some(0)));
    assert!(second.tx.is_none() && second.rx.is_none());
    assert!(seen.driver.features.contains(&"low-latency queues of 128 bytes".to_string()));
    let mut other = driver.create_tx(256, 2);
    driver.send(&mut other, 1, &FRAME);
    let seen = driver.bench.card.inspect();
    assert_eq!(seen.pairs[1].counters.get("tx_frames"), Some(1));
    assert_eq!((seen.totals.get("tx_frames"), seen.totals.get("tx_bytes")), (Some(1), Some(60)));
    driver.reset(11);
    let seen = driver.bench.card.inspect();
    assert!(seen.pairs.iter().all(|pair| pair.tx.is_none() && pair.rx.is_none()));
    assert_eq!(seen.last_reset, Some(Reset { code: Some(11), reason: "shutdown" }));
    assert!(driver.bench.card.rss().is_none());
    let flow = FlowKey {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        protocol: 6,
        source_port: 1,
        destination_port: 2,
    };
    assert_eq!(driver.bench.card.explain(&flow), Err(ExplainError::NoTable));
}

#[test]
fn each_bucket_tells_how_often_frames_hit_it() {
    let mut driver = Driver::probed(2);
    let mut queue = driver.create_rx(256, 1);
    let buffer = driver.bench.allocate(512);
    driver.set_key(buffer, &[0x5a; 40], 7).ok();
    let table: Vec<u32> = (0..128).map(|n| n % 2).collect();
    driver.bench.store_words(buffer, &table);
    driver.set_from(12, &[0, 7, u32::MAX, 0], buffer, 512).ok();
    let mut frame = vec![0; 60];
    frame[0] = 1;
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[16..18].copy_from_slice(&46u16.to_be_bytes());
    frame[23] = 17;
    frame[26..38].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9]);
    let flow = FlowKey {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        protocol: 17,
        source_port: 7,
        destination_port: 9,
    };
    for id in 0..3 {
        driver.post_buffer(&mut queue, id, 1536);
        driver.bench.stages[0].bring(frame.clone());
    }
    driver.ring(&queue);
    let explained = driver.bench.card.explain(&flow).unwrap();
    assert_eq!(explained.hash_type, Some(Protocol::Udp4));
    let state = driver.bench.card.rss().unwrap();
    assert_eq!((state.key.as_str(), state.initial), ("5a".repeat(40).as_str(), 7));
    assert_eq!(state.hashed[0].fields.len(), 4);
    for (at, bucket) in state.table.iter().enumerate() {
        let expected = if Some(at) == explained.bucket { 3 } else { 0 };
        assert_eq!((bucket.queue, bucket.hits), (at as u16 % 2, Some(expected)), "{at}");
    }
    assert_eq!(state.unhashed.hits, Some(0));
}

#[test]
fn a_cable_pulled_out_is_down_for_the_guest_and_no_frame_passes() {
    let mut driver = Driver::probed(1);
    let (mut tx, mut rx) = (driver.create_tx(256, 1), driver.create_rx(256, 1));
    driver.free_events();
    while driver.take_event().is_some() {}
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = heard.clone();
    let listener = move |event| to.lock().unwrap().push(event);
    driver.bench.card.set_listener(Some(Box::new(listener)));
    driver.bench.card.set_link(false);
    driver.bench.settle();
    assert_eq!(driver.take_event().unwrap().group, 0);
    assert!(!driver.bench.card.inspect().link_up);
    driver.post_buffer(&mut rx, 0, 1536);
    driver.ring(&rx);
    driver.bench.stages[0].bring(vec![1; 60]);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.take_completion(&mut tx).is_some(), "buffers come back");
    assert!(driver.bench.stages[0].take_sent().is_empty());
    let totals = driver.bench.card.inspect().totals;
    assert_eq!((totals.get("tx_no_link"), totals.get("rx_no_link")), (Some(1), Some(1)));

    driver.bench.card.set_link(true);
    driver.bench.card.set_link(true);
    driver.bench.settle();
    driver.bench.stages[0].bring(vec![1; 60]);
    driver.send(&mut tx, 2, &FRAME);
    driver.bench.settle();
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    assert_eq!(driver.bench.card.inspect().totals.get("rx_frames"), Some(1));
    let [down, up] = [false, true].map(|up| NicEvent::Link { up });
    assert_eq!(*heard.lock().unwrap(), [down, up]);
}

#[test]
fn whoever_listens_hears_of_faults_and_resets() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut driver = Driver::on(Bench::new(1));
    let to = heard.clone();
    let listener = move |event| to.lock().unwrap().push(event);
    driver.bench.card.set_listener(Some(Box::new(listener)));
    driver.probe();
    heard.lock().unwrap().clear();
    driver.create_rx(256, 1);
    driver.bench.card.inject(Fault::Fatal).unwrap();
    driver.bench.settle();
    driver.reset(3);
    let reset = Reset { code: Some(3), reason: "missing TX completion" };
    let fault = NicEvent::Fault { fault: Fault::Fatal };
    let expected = [NicEvent::DriverReady, fault, NicEvent::Failed, NicEvent::Reset(reset)];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn faults_can_be_taken_back() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    let card = driver.bench.card.clone();
    let faults = [Fault::StopKeepAlive, Fault::NoAnswer, Fault::SwallowTx(9)];
    for fault in faults {
        card.inject(fault).unwrap();
    }
    assert_eq!(card.faults(), faults);
    card.clear_faults();
    assert_eq!(card.faults(), []);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.take_completion(&mut tx).is_some());
}

#[test]
fn limits_are_replaced_while_frames_flow() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    let limits = Allowed { conntrack: Some(1), ..Allowed::default() };
    driver.bench.card.limit(&limits);
    assert_eq!(driver.bench.card.allowed(), limits);
    assert_eq!(driver.bench.card.inspect().allowances.conntrack_available, Some(1));
    driver.bench.card.limit(&Allowed::default());
    assert_eq!(driver.bench.card.inspect().allowances.conntrack_available, None);
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
}

#[test]
fn a_flow_is_explained_by_the_keys_reversed_bytes() {
    let mut driver = Driver::probed(2);
    driver.create_rx(256, 1);
    driver.create_rx(256, 2);
    let buffer = driver.bench.allocate(512);
    // The key that the driver would have to write for the published hash values.
    let mut key = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
    key.reverse();
    driver.set_key(buffer, &key, 0).ok();
    let table: Vec<u32> = (0..128).map(|n| n % 2).collect();
    driver.bench.store_words(buffer, &table);
    driver.set_from(12, &[0, 7, u32::MAX, 0], buffer, 512).ok();
    let flow = FlowKey {
        source: "199.92.111.2".parse().unwrap(),
        destination: "65.69.140.83".parse().unwrap(),
        protocol: 6,
        source_port: 14230,
        destination_port: 4739,
    };
    let explained = driver.bench.card.explain(&flow).unwrap();
    assert_eq!(explained.hash, Some(0xc626_b0ea));
    assert_eq!((explained.bucket, explained.lane), (Some(106), 0));
    assert_eq!(explained.vector, Some(1));
}

#[test]
fn swallowed_completions_never_come_and_a_reset_heals() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::SwallowTx(2)).unwrap();
    for id in 0..3 {
        driver.send(&mut tx, id, &FRAME);
    }
    assert_eq!(driver.bench.stages[0].take_sent().len(), 3);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 2);
    assert_eq!(driver.take_completion(&mut tx), None);
    driver.bench.card.inject(Fault::SwallowTx(100)).unwrap();
    driver.reset(3);
    assert!(driver.bench.card.inspect().faults.is_empty());
}

#[test]
fn a_wrong_request_id_comes_once() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::WrongTxId).unwrap();
    driver.send(&mut tx, 1, &FRAME);
    driver.send(&mut tx, 2, &FRAME);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 0xffff);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 2);
}

#[test]
fn a_command_without_answer_is_carried_out_and_the_next_is_answered() {
    let mut driver = Driver::probed(1);
    driver.bench.card.inject(Fault::NoAnswer).unwrap();
    let attributes = [8 << 16, 0, 0, 0, 1 << 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    driver.enqueue(attributes);
    driver.kick();
    assert_eq!(driver.take_answer(), None);
    driver.command(attributes).ok();
}

#[test]
fn a_requested_reset_and_new_hints_are_events() {
    let mut driver = Driver::probed(1);
    driver.set(26, &[0, 0xd9]).ok();
    driver.free_events();
    while driver.take_event().is_some() {}
    driver.bench.card.inject(Fault::RequestReset).unwrap();
    assert_eq!(driver.take_event().unwrap().group, 7);
    let hints = Hints { driver_watchdog_ms: u16::MAX, ..Hints::default() };
    driver.bench.card.advise(hints);
    let event = driver.take_event().unwrap();
    assert_eq!((event.group, event.syndrome, event.data[0]), (3, 2, 0xffff_0000));
    assert_eq!(driver.get(3, 0).ok().word(0), 0xffff_0000);
}

/// Groups that Linux 6.1 and 6.12 enable, of those that are offered; later drivers know the request too.
const GROUPS: u32 = 0x19;
const REQUEST: u32 = 0x80;

/// A driver that listens to events of these groups, and has heard all that there was.
fn listening(groups: u32) -> Driver {
    let mut driver = Driver::probed(1);
    listen(&mut driver, groups);
    driver
}

fn listen(driver: &mut Driver, groups: u32) {
    driver.set(26, &[0, groups]).ok();
    driver.free_events();
    while driver.take_event().is_some() {}
}

/// Groups of the events of the next five seconds.
fn heard(driver: &mut Driver) -> Vec<u16> {
    let now = Instant::now();
    (1..=5).for_each(|second| driver.bench.tick(now + Duration::from_secs(second)));
    std::iter::from_fn(|| driver.take_event()).map(|event| event.group).collect()
}

#[test]
fn a_driver_that_is_asked_for_a_reset_hears_that_or_nothing_until_it_resets() {
    for groups in [GROUPS, GROUPS | REQUEST] {
        let mut driver = listening(groups);
        assert!(heard(&mut driver).contains(&4), "{groups:#x}");
        driver.free_events();
        driver.bench.card.ask_for_reset().unwrap();
        let asked: &[u16] = if groups & REQUEST == 0 { &[] } else { &[7] };
        assert_eq!(heard(&mut driver), asked, "{groups:#x}");
        // Its frames pass as long as it likes.
        let mut tx = driver.create_tx(256, 1);
        driver.send(&mut tx, 1, &FRAME);
        assert!(driver.take_completion(&mut tx).is_some());
        driver.reset(1);
        driver.probe();
        listen(&mut driver, groups);
        let again = heard(&mut driver);
        assert!(again.contains(&4) && !again.contains(&7), "{groups:#x}: {again:?}");
    }
}

#[test]
fn a_card_without_a_driver_asks_nobody_for_a_reset() {
    let mut driver = listening(0);
    driver.bench.card.ask_for_reset().unwrap();
    driver.set(26, &[0, GROUPS | REQUEST]).ok();
    let heard = heard(&mut driver);
    assert!(heard.contains(&4) && !heard.contains(&7), "{heard:?}");
}

#[test]
fn the_fatal_state_on_demand_stops_queues_until_the_reset() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::Fatal).unwrap();
    assert_eq!(driver.status() & FATAL, FATAL);
    driver.bench.settle();
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(driver.take_completion(&mut tx), None);
    assert_eq!(driver.bench.card.inspect().condition, Condition::Failed);
    driver.reset(1);
    driver.probe();
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.take_completion(&mut tx).is_some());
}

#[test]
fn latencies_are_measured_on_demand_for_frames_of_each_pair() {
    let mut driver = Driver::probed(1);
    let (mut tx, mut rx) = (driver.create_tx(256, 1), driver.create_rx(256, 1));
    let card = driver.bench.card.clone();
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(card.latency(), None);
    card.measure_latency(true);
    // What was pending fires; then the next one may.
    driver.unmask(&tx);
    driver.unmask(&tx);
    // The doorbell is rung, and the lane comes to it some time later.
    let at = driver.bench.allocate(64);
    driver.post(&mut tx, transmit(2, at, 60));
    driver.bench.write(tx.doorbell, tx.posted.into());
    std::thread::sleep(std::time::Duration::from_millis(2));
    driver.bench.settle();
    driver.post_buffer(&mut rx, 0, 1536);
    driver.ring(&rx);
    driver.bench.stages[0].bring(vec![1; 60]);
    driver.bench.settle();
    card.measure_latency(false);
    driver.send(&mut tx, 3, &FRAME);
    let Latency { on, pairs } = card.latency().unwrap();
    let [pair] = &pairs[..] else { panic!("one pair") };
    assert!(!on);
    assert_eq!((pair.doorbell_to_tap.count, pair.tap_to_completion.count), (1, 1));
    assert!(pair.doorbell_to_tap.p50 >= 2_000_000, "{pair:?}");
    assert_eq!((pair.tap_to_guest.count, pair.completion_to_interrupt.count), (1, 1));
}

#[test]
fn an_interrupt_put_off_is_late_by_its_delay() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    let card = driver.bench.card.clone();
    card.measure_latency(true);
    driver.unmask_later(&tx, 0, 500);
    driver.send(&mut tx, 1, &FRAME);
    while card.latency().unwrap().pairs[0].completion_to_interrupt.count == 0 {
        driver.bench.settle();
    }
    let latency = card.latency().unwrap().pairs[0].completion_to_interrupt;
    assert!(latency.count == 1 && latency.p50 >= 400_000, "{latency:?}");
}

#[test]
fn frames_of_one_queue_are_captured_with_their_hashes() {
    let mut driver = Driver::probed(2);
    let mut tx = driver.create_tx(256, 1);
    let mut other = driver.create_tx(256, 2);
    let card = driver.bench.card.clone();
    assert!(card.capture().is_none() && card.stop_capture().is_none());
    let file = tempfile::tempfile().unwrap();
    let spec = CaptureSpec { queue: Some(1), ..CaptureSpec::default() };
    let bad = CaptureSpec { queue: Some(2), ..spec };
    assert!(card.start_capture(file.try_clone().unwrap(), &bad).is_err());
    assert!(card.capture().is_none());
    card.start_capture(file.try_clone().unwrap(), &spec).unwrap();
    driver.send(&mut tx, 1, &FRAME);
    driver.send(&mut other, 1, &FRAME);
    driver.bench.settle();
    assert_eq!(card.inspect().capture.unwrap().frames, 1);
    // A second one replaces the first, whose file is complete then.
    let second = tempfile::tempfile().unwrap();
    card.start_capture(second, &CaptureSpec::default()).unwrap();
    let len = file.metadata().unwrap().len();
    driver.send(&mut tx, 2, &FRAME);
    driver.send(&mut other, 2, &FRAME);
    let state = card.stop_capture().unwrap();
    assert_eq!((state.frames, state.ended.as_ref()), (2, Some(&CaptureEnd::Stopped)));
    assert_eq!(file.metadata().unwrap().len(), len);
    driver.send(&mut tx, 3, &FRAME);
    assert_eq!(card.stop_capture(), Some(state));
}

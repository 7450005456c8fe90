//! Inspection and faults on demand, as their caller sees them.

use net::rss::FlowKey;

use crate::Hints;
use crate::faults::Fault;
use crate::inspect::Condition;
use crate::testing::driver::{Driver, FATAL};

const FRAME: [u8; 60] = [0x11; 60];

#[test]
fn an_inspection_shows_what_the_driver_set() {
    let mut driver = Driver::probed(2);
    let tx = driver.create_llq(512, 1);
    driver.create_rx(1024, 1);
    driver.bench.write(tx.doorbell, 0);
    let seen = driver.bench.card.inspect();
    assert_eq!((seen.condition, seen.resets), (Condition::Ready, 1));
    assert_eq!((seen.low_latency_entry, seen.queue_pairs), (Some(128), 2));
    assert_eq!((seen.admin.commands, seen.admin.events), (Some(32), Some(16)));
    assert_eq!(seen.rss.key, Some("5a".repeat(40)));
    let [sender, receiver] = &seen.queues[..] else { panic!("two queues") };
    assert_eq!((sender.direction, sender.depth, sender.low_latency), ("tx", 512, true));
    assert_eq!((receiver.direction, receiver.depth, receiver.vector), ("rx", 1024, Some(1)));
    driver.reset(11);
    let seen = driver.bench.card.inspect();
    assert!(seen.queues.is_empty() && seen.rss.key.is_none());
    assert_eq!(seen.last_reset.unwrap().reason, 11);
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
    let explained = driver.bench.card.explain(&flow).unwrap().unwrap();
    assert_eq!(explained.hash, Some(0xc626_b0ea));
    assert_eq!((explained.bucket, explained.lane), (Some(106), 0));
    assert_eq!(explained.vector, Some(1));
}

#[test]
fn swallowed_completions_never_come_and_a_reset_heals() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::SwallowTxCompletions(2));
    for id in 0..3 {
        driver.send(&mut tx, id, &FRAME);
    }
    assert_eq!(driver.bench.stages[0].take_sent().len(), 3);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 2);
    assert_eq!(driver.take_completion(&mut tx), None);
    driver.bench.card.inject(Fault::SwallowTxCompletions(100));
    driver.reset(3);
    assert!(driver.bench.card.inspect().faults.is_empty());
}

#[test]
fn a_wrong_request_id_comes_once() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::WrongTxRequestId);
    driver.send(&mut tx, 1, &FRAME);
    driver.send(&mut tx, 2, &FRAME);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 0xffff);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 2);
}

#[test]
fn a_command_without_answer_is_carried_out_and_the_next_is_answered() {
    let mut driver = Driver::probed(1);
    driver.bench.card.inject(Fault::NoAnswer);
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
    driver.bench.card.inject(Fault::RequestReset);
    assert_eq!(driver.take_event().unwrap().group, 7);
    let hints = Hints { driver_watchdog_ms: u16::MAX, ..Hints::default() };
    driver.bench.card.advise(hints);
    let event = driver.take_event().unwrap();
    assert_eq!((event.group, event.syndrome, event.data[0]), (3, 2, 0xffff_0000));
    assert_eq!(driver.get(3, 0).ok().word(0), 0xffff_0000);
}

#[test]
fn the_fatal_state_on_demand_stops_queues_until_the_reset() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.card.inject(Fault::Fatal);
    assert_eq!(driver.status() & FATAL, FATAL);
    driver.bench.settle();
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(driver.take_completion(&mut tx), None);
    assert_eq!(driver.bench.card.inspect().condition, Condition::Fatal);
    driver.reset(1);
    driver.probe();
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.take_completion(&mut tx).is_some());
}

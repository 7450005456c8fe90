//! Tests of what the card shows, with a driver of its device and one of its registers.

use std::sync::Mutex;

use net::control::NicEvent;
use net::control::inspect::Reset;

use super::*;
use crate::testing::nic::{CTRL, HASH_REPORT, MAC, MQ, Nic as TestNic, RSS};
use crate::transport::pci::VirtioCard;

fn listened(nic: &TestNic) -> (Nic, Arc<Mutex<Vec<NicEvent>>>) {
    let card = VirtioCard::new(nic.net.clone(), &nic.machine.kit()).unwrap();
    let control = Nic::new(nic.net.clone(), card.transport().clone());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = heard.clone();
    control.set_listener(Some(Box::new(move |event| to.lock().unwrap().push(event))));
    (control, heard)
}

#[test]
fn a_card_without_a_driver_is_idle_and_has_no_rings() {
    let nic = TestNic::new();
    let (control, _) = listened(&nic);
    let seen = control.inspect();
    assert_eq!((seen.id.as_str(), seen.backend.as_str(), seen.mac), ("test", "script", MAC));
    assert_eq!((seen.condition, seen.resets, seen.link_up), (Condition::Idle, 0, true));
    let [pair] = &seen.pairs[..] else { panic!("one pair") };
    assert!(pair.tx.is_none() && pair.rx.is_none() && seen.management.is_empty());
    assert!(control.rss().is_none() && seen.steering.is_none());
    assert_eq!(control.inject(Fault::RequestReset), Err(NoSuchFault));
    assert_eq!(control.ask_for_reset(), Err(NoSuchRequest));
}

#[test]
fn frames_are_counted_by_pair_and_the_life_of_the_driver_is_told() {
    let mut nic = TestNic::with(2, crate::testing::nic::ABLE, true);
    let (control, heard) = listened(&nic);
    nic.start(CTRL | MQ);
    nic.send(&[0xff; 60]);
    let counted = control.counters();
    assert_eq!((counted[0].get("tx_frames"), counted[1].get("tx_frames")), (Some(1), Some(0)));
    assert_eq!(control.inspect().totals.get("tx_bytes"), Some(60));
    // A pause, and then a reset.
    let queues = nic.net.unplug();
    nic.net.plug(CTRL | MQ, queues, nic.notice.clone()).unwrap();
    nic.net.unplug();
    nic.net.reset();
    nic.net.reset();
    let reset = Reset { code: None, reason: "device status set to 0" };
    assert_eq!(control.inspect().last_reset, Some(reset.clone()));
    assert_eq!(control.inspect().resets, 1);
    assert_eq!(*heard.lock().unwrap(), [NicEvent::DriverReady, NicEvent::Reset(reset)]);
}

#[test]
fn a_cable_pulled_out_is_told_to_the_driver() {
    let mut nic = TestNic::new();
    let (control, heard) = listened(&nic);
    nic.start(0);
    control.set_link(false);
    assert_eq!(nic.notice.config_changes(), 1);
    assert_eq!(nic.net.read_config(6, device_core::bus::Width::B2), 0);
    nic.send(&[0xff; 60]);
    assert!(nic.stages[0].take_sent().is_empty());
    assert_eq!(nic.total("tx_no_link"), 1);
    control.set_link(true);
    assert_eq!(nic.net.read_config(6, device_core::bus::Width::B2), 1);
    assert_eq!(heard.lock().unwrap().last(), Some(&NicEvent::Link { up: true }));
}

#[test]
fn hits_are_counted_for_drivers_that_are_told_hashes() {
    for (features, hits) in [(RSS | HASH_REPORT, Some(1)), (RSS, None)] {
        let mut nic = TestNic::with(2, crate::testing::nic::ABLE, true);
        let (control, _) = listened(&nic);
        nic.start(CTRL | features);
        let mut config = 0x3fu32.to_le_bytes().to_vec();
        config.extend([0, 0, 1, 0, 0, 0, 2, 0, 40]); // one entry, unclassified to pair 1
        config.extend([0x5a; 40]);
        assert_eq!(nic.command(4, 1, &config), Some(0));
        nic.post(0, 1, 2048);
        nic.stages[0].bring(vec![0xff; 60]);
        nic.settle();
        let state = control.rss().unwrap();
        assert_eq!(state.table.len(), 1);
        assert_eq!((state.unhashed.queue, state.unhashed.hits), (1, hits));
        assert_eq!(state.table[0].hits, hits.map(|_| 0));
    }
}

#[test]
fn negotiated_features_have_names() {
    assert_eq!(features::names(RSS | CTRL & (1 << 17) | 1 << 40), ["CTRL_VQ", "bit 40", "RSS"]);
}

//! Tests of a bus that goes on in another process.

use std::sync::Arc;

use device_core::bus::Width::{B2, B4};
use device_core::bus::{Bus, BusDevice};
use device_core::testing::mutants;

use super::*;
use crate::config::{BAR0, COMMAND, COMMAND_MEMORY};
use crate::test_card::{LOW, TestCard, windows};

fn bus(cards: &[&str]) -> Arc<PciBus> {
    let bus = PciBus::new(Bus::new(), windows()).unwrap();
    for card in cards {
        bus.attach(Arc::new(TestCard::new(card))).unwrap();
    }
    bus
}

struct Nothing;

impl BusDevice for Nothing {
    fn read(&self, _: u64, width: device_core::bus::Width) -> u64 {
        width.mask()
    }
    fn write(&self, _: u64, _: device_core::bus::Width, _: u64) {}
}

#[test]
fn each_slot_and_the_address_port_come_back() {
    let old = bus(&["a", "b"]);
    old.ports(Arc::new(Nothing)).write(0, B4, 0x8000_1004);
    let card = old.function(2).unwrap();
    card.write_config(COMMAND, B2, COMMAND_MEMORY.into());
    card.write_config(BAR0, B4, LOW.start + 0x10_0000);
    let saved = old.to_saved().unwrap();

    let new = bus(&["a", "b"]);
    new.load_saved(&saved).unwrap();

    assert_eq!(new.ports(Arc::new(Nothing)).read(0, B4), 0x8000_1004);
    assert_eq!(new.function(2).unwrap().read_config(BAR0, B4), LOW.start + 0x10_0000);
    assert_eq!(new.to_saved().unwrap(), saved);
}

#[test]
fn other_cards_are_refused_by_their_slots() {
    let state = bus(&["a", "b"]).save();
    for other in [&["a"][..], &["a", "c"], &["a", "b", "c"]] {
        let error = bus(other).load(state.clone()).unwrap_err().to_string();
        let text = "slots of the pci-bus cannot be: the cards are 0: host-bridge, 1: a, 2: b; here they are";
        assert!(error.starts_with(text), "{error}");
    }
    let error = bus(&["a", "b"]).load(BusState { address: 1, ..state }).unwrap_err();
    assert!(error.to_string().starts_with("address of the pci-bus"), "{error}");
}

#[test]
fn no_wrong_state_harms() {
    let old = bus(&["a"]);
    old.function(1).unwrap().write_config(COMMAND, B2, COMMAND_MEMORY.into());
    let state = serde_json::to_value(old.save()).unwrap();
    let mutants = mutants(&state);
    let states = mutants.into_iter().filter_map(|mutant| serde_json::from_value(mutant).ok());
    let (good, bad): (Vec<_>, Vec<_>) = states
        .map(|state: BusState| {
            let new = bus(&["a"]);
            let loaded = new.load(state.clone());
            loaded.map(|()| {
                assert_eq!(new.save().slots[1].function.config, state.slots[1].function.config)
            })
        })
        .partition(Result::is_ok);
    assert!(good.len() > 10 && bad.len() > 10, "{} {}", good.len(), bad.len());
}

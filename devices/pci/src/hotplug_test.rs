//! Tests of slots while a guest runs, through registers and configuration space as its ACPI method uses them.

use std::sync::atomic::{AtomicU64, Ordering};

use device_core::bus::{Bus, BusView};
use device_core::testing::TestLine;
use proptest::prelude::*;

use super::*;
use crate::bus::ECAM_SIZE;
use crate::config::{BAR0, COMMAND, COMMAND_MASTER, COMMAND_MEMORY};
use crate::test_card::{Heard, LOW, TestCard, mmio, windows};

use Width::{B1, B2, B4, B8};

const ECAM: u64 = 0xd000_0000;
const UP: u64 = 0;
const DOWN: u64 = 4;
const EJECT: u64 = 8;

struct Machine {
    slots: Arc<HotPlug>,
    line: Arc<TestLine>,
    told: Arc<AtomicU64>,
    memory: BusView,
    ports: BusView,
}

fn machine() -> Machine {
    let (mmio, memory) = mmio();
    let bus = PciBus::new(mmio.clone(), windows()).unwrap();
    mmio.insert(ECAM, ECAM_SIZE, bus.ecam()).unwrap();
    let (line, told) = (Arc::new(TestLine::default()), Arc::new(AtomicU64::new(0)));
    let heard = told.clone();
    let on_eject = move || {
        heard.fetch_add(1, Ordering::Relaxed);
    };
    let slots = HotPlug::new(bus, line.clone(), Box::new(on_eject));
    let ports = Bus::new();
    ports.insert(0, LEN, slots.clone()).unwrap();
    Machine { slots, line, told, memory, ports: ports.view() }
}

impl Machine {
    fn plug(&self, id: &str) -> (u8, Arc<TestCard>) {
        let card = Arc::new(TestCard::new(id));
        (self.slots.plug(card.clone()).unwrap(), card)
    }

    fn config(&mut self, slot: u8, register: u16, width: Width) -> u64 {
        self.memory.read(ECAM + (u64::from(slot) << 15) + u64::from(register), width).unwrap()
    }

    fn set_config(&mut self, slot: u8, register: u16, width: Width, value: u64) {
        let at = ECAM + (u64::from(slot) << 15) + u64::from(register);
        assert!(self.memory.write(at, width, value));
    }

    fn is_there(&mut self, slot: u8) -> bool {
        self.config(slot, 0, B4) != 0xffff_ffff
    }

    /// As a driver does it.
    fn enable(&mut self, slot: u8) {
        self.set_config(slot, BAR0, B4, LOW.start);
        self.set_config(slot, COMMAND, B2, (COMMAND_MEMORY | COMMAND_MASTER).into());
    }

    fn register(&mut self, offset: u64) -> u64 {
        self.ports.read(offset, B4).unwrap()
    }

    fn eject(&mut self, slots: u64) {
        assert!(self.ports.write(EJECT, B4, slots));
    }
}

#[test]
fn a_plugged_card_is_told_once_and_has_no_address_until_the_guest_gives_it_one() {
    let mut machine = machine();
    let (slot, card) = machine.plug("late");
    assert_eq!((slot, machine.line.pulses()), (1, 1));
    assert_eq!(machine.register(UP), 1 << 1);
    assert_eq!((machine.register(UP), machine.register(DOWN)), (0, 0));
    assert!(machine.is_there(slot));
    assert_eq!(machine.config(slot, BAR0, B4), 0);
    assert_eq!(card.heard(), []);
    machine.enable(slot);
    assert!(card.heard().contains(&Heard::Mapped(0, Some(LOW.start))));
    assert!(machine.slots.is_in_use(slot));
}

#[test]
fn a_guest_is_reminded_until_it_has_heard() {
    let mut machine = machine();
    let (slot, _) = machine.plug("early");
    assert!(machine.slots.remind() && machine.slots.remind());
    assert_eq!(machine.line.pulses(), 3);
    assert_eq!(machine.register(UP), 1 << slot);
    assert!(!machine.slots.remind());
    machine.slots.ask(slot);
    assert!(machine.slots.remind());
    machine.slots.take(slot);
    assert!(!machine.slots.remind(), "there is nothing left to hear of");
    assert_eq!(machine.line.pulses(), 5);
}

#[test]
fn a_card_that_the_guest_lets_go_is_gone_before_the_write_returns() {
    let mut machine = machine();
    let (slot, card) = machine.plug("going");
    machine.enable(slot);
    drop(card.heard());
    machine.slots.ask(slot);
    assert_eq!(machine.line.pulses(), 2);
    assert_eq!((machine.register(DOWN), machine.register(DOWN)), (1 << slot, 0));
    machine.eject(1 << slot);

    assert!(!machine.is_there(slot));
    assert_eq!(machine.memory.read(LOW.start, B4), None);
    let heard = card.heard();
    assert_eq!(heard.first(), Some(&Heard::BusMaster(false)));
    assert!(heard.contains(&Heard::Mapped(0, None)) && heard.contains(&Heard::Reset));
    assert_eq!(machine.told.load(Ordering::Relaxed), 1);
    assert_eq!(machine.slots.take_ejected(), [slot]);
    assert!(machine.slots.take_ejected().is_empty());
    assert_eq!(Arc::strong_count(&card), 1, "nobody holds it");
}

#[test]
fn a_slot_is_not_given_again_before_the_host_has_heard() {
    let mut machine = machine();
    let (slot, _) = machine.plug("first");
    machine.slots.ask(slot);
    machine.eject(1 << slot);
    assert_eq!(machine.plug("second").0, slot + 1);
    assert_eq!(machine.slots.take_ejected(), [slot]);
    assert_eq!(machine.plug("third").0, slot);
}

#[test]
fn nothing_is_let_go_that_nobody_asked_for() {
    let mut machine = machine();
    let (slot, card) = machine.plug("stays");
    machine.eject(0xffff_ffff);
    assert!(machine.is_there(0) && machine.is_there(slot));
    machine.slots.ask(slot);
    assert!(machine.slots.withdraw(slot));
    assert_eq!(machine.register(DOWN), 0, "a request that was not heard is not heard later");
    machine.eject(1 << slot);
    assert!(machine.is_there(slot));
    assert_eq!(card.heard(), []);
    assert_eq!((machine.slots.take_ejected(), machine.told.load(Ordering::Relaxed)), (vec![], 0));
    // The bridge is no card, and a free slot has none.
    machine.slots.ask(7);
    assert_eq!(machine.slots.bits_now().asked, 0);
}

#[test]
fn a_withdrawal_is_too_late_once_the_card_is_gone() {
    let mut machine = machine();
    let (slot, _) = machine.plug("gone");
    machine.slots.ask(slot);
    machine.eject(1 << slot);
    assert!(!machine.slots.withdraw(slot));
    assert_eq!(machine.slots.take_ejected(), [slot]);
}

#[test]
fn an_access_that_was_on_its_way_finds_nothing() {
    let mut machine = machine();
    let (slot, card) = machine.plug("raced");
    let function = machine.slots.bus().function(slot).unwrap();
    machine.slots.take(slot);
    assert!(!machine.is_there(slot));
    drop(card.heard());
    function.write_config(BAR0, B4, LOW.start);
    function.write_config(COMMAND, B2, (COMMAND_MEMORY | COMMAND_MASTER).into());
    assert_eq!(card.heard(), []);
    assert_eq!(machine.memory.read(LOW.start, B4), None);
}

#[test]
fn a_full_bus_has_no_slot_until_one_is_freed() {
    let machine = machine();
    let slots: Vec<_> = (1..SLOTS).map(|n| machine.plug(&format!("c{n}")).0).collect();
    assert_eq!(slots, (1..SLOTS).collect::<Vec<_>>());
    let full = machine.slots.plug(Arc::new(TestCard::new("more"))).unwrap_err();
    assert!(full.to_string().contains("no slot is left for card more"));
    machine.slots.take(17);
    assert_eq!(machine.plug("more").0, 17);
}

proptest! {
    /// Whatever a guest does to the registers, a card goes only after it was asked for.
    #[test]
    fn nonsense_does_no_harm(
        accesses in prop::collection::vec((0u64..16, 0usize..4, any::<u64>(), any::<bool>()), 0..60),
        asked in any::<u32>(),
    ) {
        let mut machine = machine();
        let cards: Vec<_> = (1..9u8).map(|n| machine.plug(&format!("c{n}"))).collect();
        for (slot, _) in cards.iter().filter(|(slot, _)| asked & bit(*slot) != 0) {
            machine.slots.ask(*slot);
        }
        for (offset, width, value, is_write) in accesses {
            let width = [B1, B2, B4, B8][width];
            if is_write {
                machine.ports.write(offset, width, value);
            } else {
                machine.ports.read(offset, width);
            }
        }
        let ejected = machine.slots.take_ejected();
        for (slot, _) in &cards {
            prop_assert_eq!(machine.is_there(*slot), !ejected.contains(slot));
            prop_assert!(!ejected.contains(slot) || asked & bit(*slot) != 0);
        }
        prop_assert!(machine.is_there(0));
    }
}

#[test]
fn what_the_guest_has_not_heard_of_outlives_the_process_and_what_it_is_asked_for_does_not() {
    let machine = machine();
    let ((early, _), (late, _)) = (machine.plug("early"), machine.plug("late"));
    machine.slots.ask(early);
    let mut saved = machine.slots.to_saved().unwrap();
    machine.slots.load_saved(&saved).unwrap();
    let told = SlotBits { up: bit(early) | bit(late), ..SlotBits::default() };
    assert_eq!(machine.slots.bits_now(), told);
    saved.state["up"] = (1u32 << 31).into();
    let refused = machine.slots.load_saved(&saved).unwrap_err().to_string();
    assert!(refused.starts_with("up of the pci-hot-plug cannot be: "), "{refused}");
    assert_eq!(machine.slots.bits_now(), told);
}

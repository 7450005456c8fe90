//! Tests of a function that goes on in another process.

use std::sync::Arc;

use device_core::bus::Width::{B1, B2, B4};
use device_core::bus::{Bus, BusDevice, BusView, Width};
use device_core::interrupt::MsiSet;
use device_core::testing::mutants;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{BAR0, COMMAND, COMMAND_MASTER, COMMAND_MEMORY, bar_register};
use crate::test_card::{Elsewhere, HIGH, Heard, LOW, MSIX_BAR, TestCard, VECTORS, mmio, windows};

const MSIX_CONTROL: u16 = 0x42;

struct Setup {
    card: Arc<TestCard>,
    function: PciFunction,
    mmio: Arc<Bus>,
    cpu: BusView,
}

fn setup() -> Setup {
    let card = Arc::new(TestCard::new("card"));
    let (mmio, cpu) = mmio();
    let function = PciFunction::new(card.clone(), mmio.clone(), windows()).unwrap();
    Setup { card, function, mmio, cpu }
}

/// A function with everything in use: BARs mapped, a vector open, one masked and pending.
fn busy() -> Setup {
    let mut setup = setup();
    for (bar, at) in [(0, LOW.start), (2, HIGH.start), (MSIX_BAR, LOW.start + 0x4000)] {
        setup.function.assign(bar, at);
    }
    setup.function.write_config(COMMAND, B2, (COMMAND_MEMORY | COMMAND_MASTER).into());
    setup.function.write_config(MSIX_CONTROL, B2, 0x8000);
    for (at, value) in [(0, 0xfee0_1000), (8, 0x41), (12, 0), (16, 0xfee0_2000), (24, 0x42)] {
        setup.cpu.write(LOW.start + 0x4000 + at, B4, value);
    }
    setup.card.set.vector(1).unwrap().fire();
    setup.card.heard();
    setup
}

/// All that a guest and a card see of it.
fn look(setup: &mut Setup) -> impl PartialEq + std::fmt::Debug + use<> {
    let config: Vec<_> =
        (0..0x100).step_by(4).map(|at| setup.function.read_config(at, B4)).collect();
    let msix = setup.function.msix.as_ref().unwrap();
    let table: Vec<_> = (0..u64::from(VECTORS) * 4).map(|word| msix.read(word * 4, B4)).collect();
    let pending = msix.read(0x1000, B4);
    let routes: Vec<_> = (0..VECTORS).map(|vector| setup.card.set.routed(vector)).collect();
    let places =
        [LOW.start, LOW.start + 0x4000, LOW.start + 0x8000, HIGH.start, HIGH.start + 0x10_0000];
    let seen: Vec<_> = places.iter().map(|&at| setup.cpu.read(at, B4)).collect();
    (config, table, pending, routes, seen)
}

fn moved(from: &Setup) -> Setup {
    let saved = serde_json::to_string(&from.function.to_saved().unwrap()).unwrap();
    let to = setup();
    to.function.load_saved(&serde_json::from_str(&saved).unwrap()).unwrap();
    to
}

#[test]
fn a_function_comes_back_with_its_bars_on_the_bus_and_its_vectors_open() {
    let mut old = busy();
    let mut new = moved(&old);
    assert_eq!(
        new.card.heard(),
        [
            Heard::MsixEnabled(true),
            Heard::Mapped(0, Some(LOW.start)),
            Heard::Mapped(2, Some(HIGH.start)),
            Heard::BusMaster(true),
        ]
    );
    assert_eq!(look(&mut new), look(&mut old));
}

#[test]
fn what_was_pending_is_delivered_once_it_is_unmasked_and_just_once() {
    let mut new = moved(&busy());
    let vector = new.card.set.test_vector(1);
    let pending = |new: &mut Setup| new.cpu.read(LOW.start + 0x4000 + 0x1000, B4);
    assert_eq!((pending(&mut new), vector.delivered()), (Some(0b010), 0));
    new.cpu.write(LOW.start + 0x4000 + 28, B4, 0);
    assert_eq!((pending(&mut new), vector.delivered()), (Some(0), 1));
    assert_eq!(new.card.set.test_vector(0).delivered(), 0);
}

#[test]
fn a_bar_that_found_its_place_taken_stays_off_the_bus() {
    let old = setup();
    for bar in [0, 2] {
        old.function.assign(bar, LOW.start);
    }
    old.function.write_config(COMMAND, B2, COMMAND_MEMORY.into());
    let state = old.function.save();
    assert_eq!(state.mapped, [0]);
    let new = moved(&old);
    assert_eq!(new.function.save(), state);
    new.function.write_config(bar_register(0), B4, LOW.start + 0x20_0000);
    assert_eq!(new.function.save().mapped, [0, 2], "as soon as it is free");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let state = serde_json::to_value(busy().function.save()).unwrap();
    let try_load = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut state = state.clone();
        edit(&mut state);
        let new = setup();
        new.mmio.insert(LOW.start + 0x20_0000, 0x1000, Arc::new(Elsewhere)).unwrap();
        let error = new.function.load(serde_json::from_value(state).unwrap()).unwrap_err();
        error.to_string()
    };
    let set = |state: &mut serde_json::Value, at: usize, bytes: &str| {
        let config = state["config"].as_str().unwrap();
        state["config"] =
            json!([&config[..at * 2], bytes, &config[at * 2 + bytes.len()..]].concat());
    };
    let other = try_load(&|state| set(state, 0x2c, "5a"));
    let text =
        "config of the pci-function cannot be: its byte 0x2c is 0x5a; this card has 0x11 there";
    assert_eq!(other, text);
    let short = try_load(&|state| state["config"] = json!("00"));
    assert!(short.contains("it has 1 bytes, not 256"), "{short}");
    let unaligned = try_load(&|state| set(state, BAR0.into(), "10"));
    assert!(unaligned.contains("its byte 0x10"), "{unaligned}");
    let outside = try_load(&|state| set(state, usize::from(BAR0) + 3, "10"));
    assert!(
        outside.contains("mapped of the pci-function cannot be: BAR 0 is disabled"),
        "{outside}"
    );
    let off = try_load(&|state| set(state, COMMAND.into(), "00"));
    assert!(off.contains("BAR 0 is disabled"), "{off}");
    let over = try_load(&|state| set(state, usize::from(BAR0) + 2, "20"));
    assert!(over.contains("overlaps"), "{over}");
    let unknown = try_load(&|state| state["mapped"] = json!([1]));
    assert!(unknown.contains("no BAR 1"), "{unknown}");
    let fewer = try_load(&|state| drop(state["vectors"].as_array_mut().unwrap().pop()));
    assert!(fewer.contains("vectors of the pci-function cannot be: there are 2"), "{fewer}");
    let odd = try_load(&|state| state["vectors"][2]["address"] = json!(2));
    assert!(odd.contains("the address of vector 2 is not aligned"), "{odd}");
    let flr = try_load(&|state| set(state, 0x4c + 9, "a8"));
    assert!(flr.contains("function level reset"), "{flr}");
}

#[test]
fn no_wrong_state_harms() {
    let state = serde_json::to_value(busy().function.save()).unwrap();
    let mut loaded = 0;
    for mutant in mutants(&state) {
        let Ok(state) = serde_json::from_value::<FunctionState>(mutant) else { continue };
        let mut new = setup();
        if new.function.load(state.clone()).is_ok() {
            loaded += 1;
            assert_eq!(new.function.save().config, state.config);
            look(&mut new);
        }
        new.function.write_config(COMMAND, B2, 0);
        new.function.reset();
        assert!(new.function.save().mapped.is_empty());
    }
    assert!(loaded > 10, "{loaded}");
}

#[derive(Clone, Debug)]
enum Op {
    Config(u16, Width, u32),
    Msix(u64, u32),
    Fire(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let place = prop_oneof![
        Just(LOW.start as u32),
        Just(LOW.start as u32 + 0x4000),
        Just(LOW.start as u32 + 0x8000),
        Just(0x40),
        any::<u32>()
    ];
    let bar = (0u8..6, place).prop_map(|(bar, value)| Op::Config(bar_register(bar), B4, value));
    let command = any::<u16>().prop_map(|value| Op::Config(COMMAND, B2, value.into()));
    let control = any::<u16>().prop_map(|value| Op::Config(MSIX_CONTROL, B2, value.into()));
    let byte =
        (0u16..0x100, any::<u8>()).prop_map(|(offset, value)| Op::Config(offset, B1, value.into()));
    let word = (0..u64::from(VECTORS) * 4, any::<u32>())
        .prop_map(|(word, value)| Op::Msix(word * 4, value));
    prop_oneof![bar, command, control, byte, word, (0..VECTORS).prop_map(Op::Fire)]
}

fn run(setup: &Setup, ops: &[Op]) {
    for op in ops {
        match *op {
            Op::Config(offset, width, value) => {
                setup.function.write_config(offset, width, u64::from(value) & width.mask());
            }
            Op::Msix(offset, value) => {
                setup.function.msix.as_ref().unwrap().write(offset, B4, value.into())
            }
            Op::Fire(vector) => setup.card.set.vector(vector).unwrap().fire(),
        }
    }
}

proptest! {
    #[test]
    fn the_function_goes_on_as_it_would_have(
        before in proptest::collection::vec(op(), 0..40),
        after in proptest::collection::vec(op(), 0..20),
    ) {
        let mut old = setup();
        run(&old, &before);
        let mut new = moved(&old);
        prop_assert_eq!(new.function.save(), old.function.save());
        let delivered = |setup: &Setup| -> Vec<u64> {
            (0..VECTORS).map(|vector| setup.card.set.test_vector(vector).delivered()).collect()
        };
        let earlier = delivered(&old);
        drop((old.card.heard(), new.card.heard()));
        run(&old, &after);
        run(&new, &after);
        prop_assert_eq!(old.card.heard(), new.card.heard());
        prop_assert_eq!(look(&mut old), look(&mut new));
        let later = delivered(&old).iter().zip(&earlier).map(|(now, then)| now - then).collect::<Vec<_>>();
        prop_assert_eq!(later, delivered(&new));
    }
}

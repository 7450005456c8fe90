//! Tests of a keyboard that goes on in another process.

use std::sync::Arc;

use device_core::testing::mutants;
use proptest::prelude::*;

use super::*;
use crate::testing::*;

struct Machine {
    i8042: I8042,
    irq: Arc<TestLine>,
    board: Arc<TestBoard>,
}

fn machine() -> Machine {
    let (irq, board) = (Arc::new(TestLine::default()), Arc::new(TestBoard::default()));
    Machine { i8042: I8042::new(irq.clone(), board.clone()), irq, board }
}

fn moved(from: &I8042) -> Machine {
    let saved = serde_json::to_string(&from.to_saved().unwrap()).unwrap();
    let to = machine();
    to.i8042.load_saved(&serde_json::from_str(&saved).unwrap()).unwrap();
    to
}

/// A keyboard in use, with keys that nobody has read.
fn busy() -> Machine {
    let machine = machine();
    machine.i8042.outb(4, 0x60);
    machine.i8042.outb(0, 0x45);
    machine.i8042.outb(0, 0xf4);
    assert_eq!(machine.i8042.inb(0), 0xfa);
    machine.i8042.press_ctrl_alt_del().unwrap();
    machine
}

#[test]
fn keys_that_the_guest_has_not_read_come_back_and_are_announced() {
    let new = moved(&busy().i8042);
    let mut keys = Vec::new();
    while new.irq.take() > 0 {
        keys.push(new.i8042.inb(0));
    }
    assert_eq!(keys, super::super::CTRL_ALT_DEL_SET1);
    assert_eq!(new.i8042.press_wake(), Ok(()), "its driver is still there");
    assert_eq!(new.board.resets(), 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let state = busy().i8042.save();
    let try_load = |state| machine().i8042.load(state).unwrap_err().to_string();
    let next = try_load(I8042State { next: Next::Ram(32), ..state.clone() });
    assert_eq!(next, "next of the i8042 cannot be: the controller has no such cell");
    let keys = try_load(I8042State { keys: vec![0; 17], ..state.clone() });
    assert!(keys.starts_with("keys of the i8042"), "{keys}");
    let awaits = try_load(I8042State { awaits: Some(0), ..state.clone() });
    assert!(awaits.starts_with("awaits of the i8042"), "{awaits}");
    let driven = try_load(I8042State { driven_ms: Some(u64::MAX), ..state });
    assert!(driven.starts_with("driven_ms of the i8042"), "{driven}");
}

#[test]
fn no_wrong_state_harms() {
    for mutant in mutants(&serde_json::to_value(busy().i8042.save()).unwrap()) {
        let Ok(state) = serde_json::from_value::<I8042State>(mutant) else { continue };
        let new = machine();
        if new.i8042.load(state.clone()).is_ok() {
            let without_time = |state| I8042State { driven_ms: None, ..state };
            assert_eq!(without_time(new.i8042.save()), without_time(state));
        }
        (0..8).for_each(|port| {
            new.i8042.inb(port);
        });
        drop(new.i8042.press_wake());
    }
}

proptest! {
    #[test]
    fn the_keyboard_goes_on_as_it_would_have(
        before in accesses(5, 80),
        after in accesses(5, 80),
    ) {
        let old = machine();
        before.iter().for_each(|access| { access.perform(&old.i8042); });
        let new = moved(&old.i8042);
        let earlier = old.board.resets();
        let _ = (old.irq.take(), new.irq.take());
        for access in after {
            prop_assert_eq!(access.perform(&old.i8042), access.perform(&new.i8042), "{:?}", access);
            prop_assert_eq!(old.irq.take(), new.irq.take());
        }
        prop_assert_eq!(old.board.resets() - earlier, new.board.resets());
    }
}

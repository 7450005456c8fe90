//! Power registers and button, as ACPICA and Linux use them.

use super::*;
use crate::testing::*;

const FACTS: PowerFacts = PowerFacts {
    sleep_control: 0,
    sleep_status: 1,
    reset: 2,
    sleep_into_s5: 5 << 2 | 1 << 5,
    reset_value: 1,
};

fn power() -> (PowerRegisters, Arc<TestBoard>) {
    let board = Arc::new(TestBoard::default());
    (PowerRegisters::new(FACTS, board.clone()), board)
}

#[test]
fn a_guest_powers_off_through_the_sleep_control_register() {
    let (power, board) = power();
    power.outb(1, 0x80); // clears the wake status
    power.outb(0, FACTS.sleep_into_s5);
    assert_eq!((board.offs(), board.resets()), (1, 0));
    assert_eq!(power.inb(1), 0);
}

#[test]
fn a_guest_resets_through_the_reset_register() {
    let (power, board) = power();
    power.outb(2, FACTS.reset_value);
    assert_eq!((board.offs(), board.resets()), (0, 1));
}

#[test]
fn other_sleep_types_and_other_values_do_nothing() {
    let (power, board) = power();
    for value in (0..=255).filter(|&value| value != FACTS.sleep_into_s5) {
        power.outb(0, value);
    }
    for value in (0..=255).filter(|&value| value != FACTS.reset_value) {
        power.outb(2, value);
    }
    assert_eq!((board.offs(), board.resets()), (0, 0));
}

#[test]
fn a_wide_write_reaches_each_register_it_covers() {
    let (power, board) = power();
    power.write(0, Width::B4, 0x0001_0000 | u64::from(FACTS.sleep_into_s5));
    assert_eq!((board.offs(), board.resets()), (1, 1));
    assert_eq!(power.read(0, Width::B4), 0xff00_0000);
}

#[test]
fn a_guest_resets_through_the_reset_control_register() {
    let board = Arc::new(TestBoard::default());
    let control = ResetControl::new(1, board.clone());
    // As Linux does: first how, then do.
    let how = control.inb(1) & !0x0e;
    control.outb(1, how | 0x02);
    assert_eq!(board.resets(), 0);
    control.outb(0, 0x0e);
    assert_eq!(board.resets(), 0, "another port");
    control.outb(1, how | 0x0e);
    assert_eq!((board.offs(), board.resets()), (0, 1));
    assert_eq!(control.inb(0), 0xff);
}

#[test]
fn a_press_of_the_button_is_one_pulse() {
    let line = Arc::new(TestLine::default());
    PowerButton::new(line.clone()).press();
    assert_eq!(line.take(), 1);
}

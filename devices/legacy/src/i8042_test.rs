//! The keyboard controller, driven as Linux's `i8042` and `atkbd` drivers do.

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

impl Machine {
    fn has_output(&self) -> bool {
        self.i8042.inb(COMMAND) & STATUS_OUTPUT_FULL != 0
    }

    /// A command to the controller, polled as by `i8042_command`; `None` where that waits in vain.
    fn command(&self, command: u8, parameter: Option<u8>, answers: bool) -> Option<u8> {
        self.i8042.outb(COMMAND, command);
        if let Some(parameter) = parameter {
            self.i8042.outb(DATA, parameter);
        }
        (answers && self.has_output()).then(|| self.i8042.inb(DATA))
    }

    /// Reads what the keyboard says as an interrupt handler does: one byte per interrupt.
    fn interrupts(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.irq.take() > 0 {
            assert!(self.has_output(), "an interrupt without a byte");
            bytes.push(self.i8042.inb(DATA));
        }
        bytes
    }

    /// A byte to the keyboard, and what comes back.
    fn tell_keyboard(&self, byte: u8) -> Vec<u8> {
        self.i8042.outb(DATA, byte);
        self.interrupts()
    }

    /// As Linux's probe leaves it: translated, interrupt on, keyboard scanning.
    fn probed(self) -> Machine {
        self.command(0x60, Some(CONFIG_INTERRUPT | CONFIG_TRANSLATE | CONFIG_SYSTEM), false);
        assert_eq!(self.tell_keyboard(0xf4), [ACK]);
        self
    }
}

#[test]
fn the_probe_of_linux_gets_every_answer_at_once() {
    let m = machine();
    assert!(!m.has_output(), "i8042_flush finds nothing");
    assert_eq!(m.i8042.inb(COMMAND) & 0x02, 0, "the input buffer is never full");
    assert_ne!(m.i8042.inb(COMMAND) & STATUS_UNLOCKED, 0, "no keylock");

    assert_eq!(m.command(0xaa, None, true), Some(0x55), "self-test");
    let config = m.command(0x20, None, true).unwrap();
    assert_ne!(config & CONFIG_TRANSLATE, 0);
    assert_eq!(m.command(0x20, None, true), Some(config), "read twice, the same");
    let quiet = (config | CONFIG_KEYBOARD_OFF) & !CONFIG_INTERRUPT;
    m.command(0x60, Some(quiet), false);

    // i8042_check_aux: the loop must come back unmarked, the test fail, and nothing stay behind.
    m.i8042.outb(COMMAND, 0xd3);
    m.i8042.outb(DATA, 0x5a);
    assert_eq!(m.i8042.inb(COMMAND) & 0x20, 0, "not marked as from a mouse");
    let test = m.command(0xa9, None, true).unwrap();
    assert!(test != 0 && test != 0xfa && test != 0xff, "there is no mouse port");
    assert!(!m.has_output());

    assert_eq!(m.command(0xab, None, true), Some(0), "the keyboard port is fine");
    m.command(0x60, Some(config & !CONFIG_KEYBOARD_OFF | CONFIG_INTERRUPT), false);
    assert_eq!(m.irq.take(), 0, "answers of the controller raise no interrupt");

    // atkbd_probe and atkbd_activate.
    assert_eq!(m.tell_keyboard(0xf2), [ACK, 0xab, 0x41]);
    assert_eq!(m.tell_keyboard(0xf5), [ACK]);
    assert_eq!(m.tell_keyboard(0xed), [ACK]);
    assert_eq!(m.tell_keyboard(0x00), [ACK]);
    assert_eq!(m.tell_keyboard(0xf3), [ACK]);
    assert_eq!(m.tell_keyboard(0x00), [ACK]);
    assert_eq!(m.tell_keyboard(0xf4), [ACK]);
    assert_eq!(m.board.resets(), 0);
}

#[test]
fn a_reset_of_the_keyboard_passes_its_self_test() {
    let m = machine().probed();
    assert_eq!(m.tell_keyboard(0xff), [ACK, 0xaa]);
    assert_eq!(m.tell_keyboard(0xee), [0xee]);
    assert_eq!(m.tell_keyboard(0x12), [RESEND]);
    assert_eq!(m.tell_keyboard(0xf0), [ACK]);
    assert_eq!(m.tell_keyboard(0x02), [ACK]);
}

#[test]
fn reboot_equals_k_resets_the_machine() {
    let m = machine();
    m.i8042.outb(COMMAND, 0xfe);
    assert_eq!(m.board.resets(), 1);
}

#[test]
fn the_output_port_resets_the_machine_too() {
    let m = machine();
    m.command(0xd1, Some(0x02), false);
    assert_eq!(m.board.resets(), 1);
    m.command(0xd1, Some(0x03), false);
    m.i8042.outb(COMMAND, 0xff);
    m.i8042.outb(COMMAND, 0xf1);
    assert_eq!(m.board.resets(), 1, "bit 0 high is no reset");
}

#[test]
fn ctrl_alt_del_arrives_byte_by_byte_in_scan_code_set_1() {
    let m = machine().probed();
    m.i8042.press_ctrl_alt_del().unwrap();
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
    assert!(!m.has_output());
}

#[test]
fn ctrl_alt_del_is_untranslated_where_the_guest_asked_for_that() {
    let m = machine().probed();
    m.command(0x60, Some(CONFIG_INTERRUPT), false);
    m.i8042.press_ctrl_alt_del().unwrap();
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET2);
}

#[test]
fn ctrl_alt_del_is_refused_whole_when_it_could_not_be_typed() {
    let m = machine().probed();
    m.tell_keyboard(0xf5);
    assert_eq!(m.i8042.press_ctrl_alt_del(), Err(KeyboardNotReady::Off));
    m.tell_keyboard(0xf4);
    m.command(0xad, None, false);
    assert_eq!(m.i8042.press_ctrl_alt_del(), Err(KeyboardNotReady::Off));
    m.command(0xae, None, false);

    m.i8042.press_ctrl_alt_del().unwrap();
    assert_eq!(m.i8042.press_ctrl_alt_del(), Err(KeyboardNotReady::Busy));
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
}

#[test]
fn a_key_waits_while_the_keyboard_is_off_and_is_announced_when_it_is_on() {
    let m = machine().probed();
    m.i8042.press_ctrl_alt_del().unwrap();
    m.irq.take();
    m.command(0xad, None, false);
    assert!(!m.has_output());
    assert_eq!(m.irq.take(), 0);
    m.command(0xae, None, false);
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
}

#[test]
fn an_answer_of_the_controller_comes_before_keys_and_loses_none() {
    let m = machine().probed();
    m.i8042.press_ctrl_alt_del().unwrap();
    m.irq.take();
    assert_eq!(m.command(0xaa, None, true), Some(0x55));
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
}

#[test]
fn a_keyboard_that_nobody_reads_stays_bounded() {
    let m = machine();
    for _ in 0..1000 {
        m.i8042.outb(DATA, 0xf2);
        m.command(0xd2, Some(0x1c), false);
    }
    let read = std::iter::from_fn(|| m.has_output().then(|| m.i8042.inb(DATA)));
    assert_eq!(read.count(), KEYBOARD_FIFO);
}

/// What is typed before there is a driver, or into its probe, is lost: it is refused instead.
#[test]
fn keys_are_taken_from_the_moment_on_at_which_a_driver_reads_them() {
    let m = machine();
    let press = || m.i8042.press_ctrl_alt_del();
    assert_eq!(press(), Err(KeyboardNotReady::NotSetUp), "nobody is there");
    let config = m.command(0x20, None, true).unwrap();
    let quiet = (config | CONFIG_KEYBOARD_OFF) & !CONFIG_INTERRUPT;
    m.command(0x60, Some(quiet), false);
    assert_eq!(press(), Err(KeyboardNotReady::NotSetUp), "turned off");
    m.command(0x60, Some(quiet & !CONFIG_KEYBOARD_OFF), false);
    assert_eq!(press(), Err(KeyboardNotReady::NotSetUp), "without an interrupt");
    m.command(0x60, Some(config | CONFIG_INTERRUPT), false);
    assert_eq!(press(), Err(KeyboardNotReady::NotSetUp), "the keyboard's own driver comes later");
    assert_eq!(m.tell_keyboard(0xf2), [ACK, 0xab, 0x41]);
    for command in [0xed, 0x00, 0xf5] {
        assert_eq!(m.tell_keyboard(command), [ACK]);
        assert_eq!(press(), Err(KeyboardNotReady::NotSetUp), "in the probe, at {command:#x}");
    }
    assert_eq!(m.tell_keyboard(0xf4), [ACK]);
    press().unwrap();
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
}

/// As a driver told not to speak to the keyboard (`i8042.dumbkbd`) takes it over.
#[test]
fn a_driver_that_asks_the_keyboard_nothing_gets_its_keys_a_little_later() {
    let m = machine();
    m.command(0x60, Some(CONFIG_INTERRUPT | CONFIG_TRANSLATE | CONFIG_SYSTEM), false);
    let core = m.i8042.core.lock().unwrap();
    let since = core.driven_since.unwrap();
    let at = |later: Duration| core.is_ready(since + later);
    assert_eq!(at(SILENT_DRIVER - Duration::from_millis(1)), Err(KeyboardNotReady::NotSetUp));
    assert_eq!(at(SILENT_DRIVER), Ok(()));
}

#[test]
fn a_hundred_presses_arrive_while_lamps_and_settings_are_changed() {
    let m = machine().probed();
    for round in 0..100 {
        m.i8042.press_ctrl_alt_del().unwrap();
        let mut read = Vec::new();
        for at in 0..CTRL_ALT_DEL_SET1.len() {
            assert!(m.irq.take() > 0, "byte {at} of press {round} is not announced");
            if at == round % 8 {
                // Between two bytes: the setting is read and written back.
                let config = m.command(0x20, None, true).unwrap();
                m.command(0x60, Some(config), false);
                assert!(m.irq.take() > 0, "the key is forgotten over the answer");
            }
            read.push(m.i8042.inb(DATA));
        }
        assert_eq!(read, CTRL_ALT_DEL_SET1);
        assert_eq!(m.tell_keyboard(0xed), [ACK]);
        assert_eq!(m.tell_keyboard(round as u8 % 8), [ACK]);
    }
}

#[test]
fn keys_whose_interrupt_was_lost_are_announced_by_the_next_press() {
    let m = machine().probed();
    m.i8042.press_ctrl_alt_del().unwrap();
    m.irq.take();
    assert_eq!(m.i8042.press_ctrl_alt_del(), Err(KeyboardNotReady::Busy));
    assert_eq!(m.interrupts(), CTRL_ALT_DEL_SET1);
    m.i8042.press_ctrl_alt_del().unwrap();
}

#[test]
fn the_wake_key_is_one_that_no_driver_takes_for_another() {
    let m = machine();
    assert!(m.i8042.press_wake().is_err(), "nobody is there");
    let m = m.probed();
    m.i8042.press_wake().unwrap();
    assert_eq!(m.interrupts(), WAKE_SET1);
    m.command(0x60, Some(CONFIG_INTERRUPT), false);
    m.i8042.press_wake().unwrap();
    assert_eq!(m.interrupts(), WAKE_SET2);
}

proptest! {
    #[test]
    fn any_accesses_leave_it_bounded_and_able_to_reset(accesses in accesses(5, 200)) {
        let m = machine();
        for access in accesses {
            access.perform(&m.i8042);
        }
        prop_assert!(m.i8042.core.lock().unwrap().keyboard.fifo.len() <= KEYBOARD_FIFO);
        let before = m.board.resets();
        m.i8042.outb(COMMAND, 0xfe);
        prop_assert_eq!(m.board.resets(), before + 1);
    }
}

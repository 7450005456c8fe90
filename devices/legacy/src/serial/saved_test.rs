//! Tests of a port that goes on in another process.

use std::sync::Arc;

use device_core::testing::mutants;
use proptest::prelude::*;

use super::*;
use crate::line::Line;
use crate::testing::*;

struct Machine {
    serial: Serial,
    line: Arc<Line>,
    irq: Arc<TestLine>,
}

fn machine() -> Machine {
    let irq = Arc::new(TestLine::default());
    let line = Line::new(1 << 16).unwrap();
    Machine { serial: Serial::new(irq.clone(), line.clone()), line, irq }
}

fn moved(from: &Serial) -> Machine {
    let saved = serde_json::to_string(&from.to_saved().unwrap()).unwrap();
    let to = machine();
    to.serial.load_saved(&serde_json::from_str(&saved).unwrap()).unwrap();
    to
}

#[test]
fn input_that_the_guest_has_not_read_comes_back_with_its_interrupt() {
    let old = machine();
    old.serial.outb(1, 1);
    assert_eq!(old.serial.receive(b"abc"), 3);
    assert_eq!(old.serial.inb(0), b'a');
    let new = moved(&old.serial);
    assert_eq!(new.irq.take(), 1);
    assert_eq!((new.serial.inb(5) & 1, new.serial.inb(0), new.serial.inb(0)), (1, b'b', b'c'));
    assert_eq!(new.serial.inb(5) & 1, 0);
}

#[test]
fn a_guest_that_waits_for_the_empty_transmitter_is_told_again() {
    let old = machine();
    old.serial.outb(1, 2);
    old.serial.outb(0, b'x');
    assert!(old.irq.take() > 0, "an edge that may be lost on its way");
    let new = moved(&old.serial);
    assert_eq!(new.irq.take(), 1);
    assert_eq!(new.serial.inb(2) & 0xf, 2);
}

#[test]
fn a_port_that_nobody_listens_to_is_silent() {
    let old = machine();
    assert_eq!(old.serial.receive(b"abc"), 3);
    let new = moved(&old.serial);
    assert_eq!(new.irq.take(), 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let state = machine().serial.save();
    let try_load = |state| machine().serial.load(state).unwrap_err().to_string();
    let long = try_load(SerialState { input: vec![0; 65], ..state.clone() });
    assert_eq!(long, "input of the serial-port cannot be: the FIFO has no room for it");
    let enable = try_load(SerialState { interrupt_enable: 0x10, ..state.clone() });
    assert!(enable.starts_with("interrupt_enable of the serial-port"), "{enable}");
    for interrupt_identification in [0, 3, 8, 0xc1] {
        let cause = try_load(SerialState { interrupt_identification, ..state.clone() });
        assert!(cause.starts_with("interrupt_identification of the serial-port"), "{cause}");
    }
}

#[test]
fn no_wrong_state_harms() {
    let busy = machine();
    busy.serial.receive(b"abc");
    busy.serial.outb(1, 3);
    for mutant in mutants(&serde_json::to_value(busy.serial.save()).unwrap()) {
        let Ok(state) = serde_json::from_value::<SerialState>(mutant) else { continue };
        let new = machine();
        if new.serial.load(state.clone()).is_ok() {
            assert_eq!(new.serial.save(), state);
        }
        (0..8).for_each(|port| {
            new.serial.inb(port);
        });
    }
}

proptest! {
    #[test]
    fn the_port_goes_on_as_it_would_have(
        before in accesses(8, 60),
        input in proptest::collection::vec(any::<u8>(), 0..80),
        between in accesses(8, 20),
        after in accesses(8, 60),
    ) {
        let old = machine();
        before.iter().for_each(|access| { access.perform(&old.serial); });
        old.serial.receive(&input);
        between.iter().for_each(|access| { access.perform(&old.serial); });
        let new = moved(&old.serial);
        prop_assert_eq!(new.serial.save(), old.serial.save());
        let _ = (old.irq.take(), new.irq.take());
        let sent = old.line.copy_from(0, &mut []).0 + old.line.pending();
        for access in after {
            prop_assert_eq!(access.perform(&old.serial), access.perform(&new.serial), "{:?}", access);
            prop_assert_eq!(old.irq.take(), new.irq.take());
        }
        let output = |line: &Line, from| {
            let mut bytes = [0; 1024];
            let (_, count) = line.copy_from(from, &mut bytes);
            bytes[..count].to_vec()
        };
        prop_assert_eq!(output(&old.line, sent), output(&new.line, 0));
    }
}

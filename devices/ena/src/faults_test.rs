//! Faults planned on the command line, as a driver sees them at their times.

use std::time::{Duration, Instant};

use net::control::NicControl;
use net::spec::{NicSpec, SWALLOWED};

use super::*;
use crate::testing::bench::{ABLE, Bench, spec};
use crate::testing::driver::Driver;

const SECOND: Duration = Duration::from_secs(1);
const FRAME: [u8; 60] = [0x11; 60];

fn planned(faults: &[(Fault, u32)]) -> Driver {
    let faults = faults.iter().map(|&(kind, after_s)| Rehearsal { kind, after_s }).collect();
    Driver::on(Bench::of(&NicSpec { faults, ..spec() }, ABLE))
}

fn in_force(driver: &Driver) -> Vec<Fault> {
    driver.bench.card.inspect().faults
}

#[test]
fn time_begins_when_the_driver_has_brought_the_card_up() {
    let mut driver = planned(&[(Fault::SwallowTx(SWALLOWED), 5)]);
    let start = Instant::now();
    driver.probe();
    driver.bench.tick(start + 100 * SECOND);
    assert!(in_force(&driver).is_empty(), "there is no queue yet");
    driver.create_rx(256, 1);
    driver.bench.tick(Instant::now() + 4 * SECOND);
    assert!(in_force(&driver).is_empty());
    driver.bench.tick(Instant::now() + 5 * SECOND);
    assert_eq!(in_force(&driver), [Fault::SwallowTx(SWALLOWED)]);
}

#[test]
fn without_a_time_it_is_at_once_and_needs_no_other_call() {
    let mut driver = planned(&[(Fault::WrongTxId, 0)]);
    driver.probe();
    driver.create_rx(256, 1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.settle();
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(driver.take_completion(&mut tx).unwrap()[0] & 0xffff, 0xffff);
}

#[test]
fn each_is_once_and_waits_for_a_card_that_is_down() {
    let mut driver = planned(&[(Fault::NoAnswer, 2), (Fault::StopKeepAlive, 1)]);
    driver.probe();
    driver.create_rx(256, 1);
    let up = Instant::now();
    driver.bench.tick(up + SECOND);
    assert_eq!(in_force(&driver), [Fault::StopKeepAlive], "the order is that of time");
    driver.reset(1);
    driver.bench.tick(up + 3 * SECOND);
    assert!(in_force(&driver).is_empty(), "the driver could not even reset");
    driver.probe();
    driver.create_rx(256, 1);
    driver.bench.tick(up + 4 * SECOND);
    assert_eq!(in_force(&driver), [Fault::NoAnswer]);
    driver.reset(2);
    driver.probe();
    driver.create_rx(256, 1);
    driver.bench.tick(up + 100 * SECOND);
    assert!(in_force(&driver).is_empty());
}

#[test]
fn a_function_level_reset_undoes_a_fault_and_does_not_bring_it_again() {
    let mut driver = planned(&[(Fault::StopKeepAlive, 1)]);
    driver.probe();
    driver.create_rx(256, 1);
    driver.bench.tick(Instant::now() + SECOND);
    assert_eq!(in_force(&driver), [Fault::StopKeepAlive]);
    driver.bench.function_reset();
    driver.bench.restore();
    driver.probe();
    driver.create_rx(256, 1);
    driver.bench.tick(Instant::now() + 100 * SECOND);
    assert!(in_force(&driver).is_empty());
}

#[test]
fn a_requested_reset_reaches_a_driver_that_listens() {
    let mut driver = planned(&[(Fault::RequestReset, 3)]);
    driver.probe();
    driver.set(26, &[0, 0xd9]).ok();
    driver.create_rx(256, 1);
    driver.free_events();
    while driver.take_event().is_some() {}
    driver.bench.tick(Instant::now() + 3 * SECOND);
    assert_eq!(driver.take_event().unwrap().group, 7);
}

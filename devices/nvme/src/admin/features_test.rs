//! Features (N31, N33 to N36).

use block::request::Operation;
use block::spec::{Cache, DiskSpec};

use crate::testing::bench::{Bench, spec};
use crate::testing::driver::{Driver, blocks, set_command};

const QUEUES: u32 = 0x07;
const CACHE: u32 = 0x06;

#[test]
fn n31_the_number_of_queues_is_always_the_same() {
    let mut driver = Driver::ready(4);
    for wanted in [0xffff_0000, 0x0000_ffff, u32::MAX] {
        driver.set(QUEUES, wanted).refused(0x002);
    }
    for wanted in [0, 0x0002_0002, 0x0003_0003, 0x00ff_00ff] {
        assert_eq!(driver.set(QUEUES, wanted).ok().result, 0x0003_0003);
    }
    assert_eq!(driver.get(QUEUES, 0).ok().result, 0x0003_0003);
    driver.create_pair(1, 8);
    driver.set(QUEUES, 0).refused(0x00c);
    driver.enable();
    assert_eq!(driver.set(QUEUES, 0).ok().result, 0x0003_0003);
}

#[test]
fn n33_and_n34_features_are_there_or_not() {
    let mut driver = Driver::ready(1);
    for which in [1, 2, 4, 5, 6, 7, 8, 9, 0xa, 0xb] {
        driver.get(which, 0).ok();
        for select in 1..8 {
            driver.get(which | select << 8, 0).refused(0x002);
        }
        driver.set(which | 1 << 31, 0).refused(0x10d);
    }
    for which in [0, 3, 0xc, 0xd, 0xe, 0xf, 0x10, 0x16, 0x80, 0x81, 0xc0] {
        driver.get(which, 0).refused(0x002);
        driver.set(which, 0).refused(0x002);
    }
}

#[test]
fn what_was_set_is_read_back_until_a_reset() {
    let mut driver = Driver::ready(2);
    for (which, value, other) in [(1, 0x0102_0305, 7), (5, 9, 0), (8, 0x1234, 0), (0xb, 0x31f, 0)] {
        assert_eq!(driver.get(which, 0).ok().result, other);
        driver.set(which, value).ok();
        assert_eq!(driver.get(which, 0).ok().result, value);
    }
    driver.set(9, 2 | 1 << 16).ok();
    assert_eq!(driver.get(9, 2).ok().result, 2 | 1 << 16);
    assert_eq!(driver.get(9, 1).ok().result, 1);
    driver.enable();
    assert_eq!(driver.get(1, 0).ok().result, 7);
    assert_eq!(driver.get(9, 2).ok().result, 2);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let mut driver = Driver::ready(2);
    for (which, value) in [(2, 1), (4, 2 << 20), (5, 1 << 16), (9, 3)] {
        driver.set(which, value).refused(0x002);
    }
    driver.get(9, 3).refused(0x002);
    driver.get(4, 2 << 20).refused(0x002);
    assert_eq!(driver.get(4, 0).ok().result, 0xffff);
    assert_eq!(driver.get(4, 1 << 20).ok().result, 0);
}

#[test]
fn n35_without_its_cache_every_write_is_durable() {
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    let durable = |driver: &mut Driver, pair: &mut _| {
        driver.bench.disk.take_asked();
        driver.io(pair, blocks(1, [page, 0], 0, 1, 0)).ok();
        driver.bench.disk.take_asked()[0].durable
    };
    assert_eq!(driver.get(CACHE, 0).ok().result, 1);
    assert!(!durable(&mut driver, &mut pair));

    driver.bench.disk.take_asked();
    driver.bench.disk.hold(true);
    let id = driver.submit(set_command(CACHE, 0));
    driver.bench.settle();
    assert_eq!(driver.take_answer(), None, "what was written before is not durable yet");
    assert_eq!(driver.get(CACHE, 0).ok().result, 1);
    driver.command(set_command(CACHE, 0)).code().eq(&0x006).then_some(()).unwrap();
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.settle();
    assert_eq!(driver.take_answer().unwrap().ok().id, id);
    assert_eq!(driver.bench.disk.take_asked()[0].operation, Operation::Flush);
    assert_eq!(driver.get(CACHE, 0).ok().result, 0);
    assert!(durable(&mut driver, &mut pair));

    driver.set(CACHE, 0).ok();
    driver.set(CACHE, 1).ok();
    assert!(!durable(&mut driver, &mut pair));
    driver.enable();
    assert_eq!(driver.get(CACHE, 0).ok().result, 1);
}

#[test]
fn a_cache_that_cannot_be_flushed_stays_on() {
    let mut driver = Driver::ready(1);
    driver.bench.disk.force(Some(block::request::Outcome::Medium));
    driver.submit(set_command(CACHE, 0));
    driver.bench.settle();
    driver.take_answer().unwrap().refused(0x280);
    assert_eq!(driver.get(CACHE, 0).ok().result, 1);
}

#[test]
fn n35_there_is_no_cache_to_switch_where_there_is_none() {
    let spec = DiskSpec { cache: Cache::Writethrough, ..spec() };
    let mut driver = Driver::on(Bench::of(&spec, 1)).enabled();
    driver.get(CACHE, 0).refused(0x002);
    driver.set(CACHE, 0).refused(0x002);
}

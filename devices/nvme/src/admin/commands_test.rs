//! The admin queue itself, and events (N20 to N22, N36 to N39, N45, N54).

use block::control::DiskControl;

use crate::testing::bench::{Bench, DISK};
use crate::testing::driver::{Driver, blocks, command, cq_doorbell, reg, sq_doorbell};

const NAMESPACE_EVENT: u32 = 0x0004_0002;

#[test]
fn n20_completions_name_command_and_head_and_flip_their_phase() {
    let mut driver = Driver::with_admin(Bench::new(1), [8, 4]).enabled();
    for n in 1..20u16 {
        let answer = driver.get(7, 0).ok();
        assert_eq!((answer.queue, answer.head), (0, n % 8));
        assert_eq!(answer.phase, (n - 1) / 4 % 2 == 0);
    }
    assert_eq!(driver.bench.interrupts(0), 19);
}

#[test]
fn n21_a_full_completion_queue_waits_for_its_host() {
    let mut driver = Driver::with_admin(Bench::new(1), [8, 2]).enabled();
    let mut admin = driver.admin;
    for _ in 0..3 {
        let mut words = command(0x0a, 0, [0; 2]);
        words[10] = 7;
        driver.enqueue(&mut admin, words);
    }
    driver.ring(&admin);
    for n in 0..3 {
        assert!(driver.look(&mut admin).is_some(), "{n}");
        assert!(driver.look(&mut admin).is_none(), "{n}");
        driver.acknowledge(&admin);
    }
}

#[test]
fn n22_and_n45_commands_that_there_are_not_are_refused() {
    let mut driver = Driver::ready(1);
    for opcode in [0x03, 0x07, 0x0d, 0x10, 0x14, 0x18, 0x19, 0x1c, 0x7f, 0x80, 0x84, 0xc5, 0xff] {
        driver.command(command(opcode, 0, [0; 2])).refused(0x001);
    }
    for bits in [0x100, 0x200, 0x4000, 0x8000] {
        let mut words = command(0x0a, 0, [0; 2]);
        (words[0], words[10]) = (words[0] | bits, 7);
        driver.command(words).refused(0x002);
    }
}

#[test]
fn n37_so_many_requests_for_events_are_held_and_no_more() {
    let mut driver = Driver::ready(1);
    for _ in 0..4 {
        driver.request_event();
        assert_eq!(driver.take_answer(), None);
    }
    driver.request_event();
    driver.take_answer().unwrap().refused(0x105);
    let answers = driver.bench.load(driver.admin.answers, 512);
    driver.bench.write(reg::CC, 0);
    driver.bench.settle();
    assert_eq!(driver.bench.load(driver.admin.answers, 512), answers);
    driver.enable();
    driver.request_event();
    assert_eq!(driver.take_answer(), None);
}

#[test]
fn n36_and_n38_a_new_size_is_told_once_until_its_log_is_read() {
    let mut driver = Driver::ready(1);
    driver.set(0x0b, 0x100).ok();
    for _ in 0..3 {
        driver.request_event();
    }
    driver.bench.disk.resize(DISK * 2);
    for _ in 0..2 {
        assert_eq!(driver.bench.card.refresh().unwrap(), DISK * 2);
    }
    assert_eq!(driver.take_answer().unwrap().ok().result, NAMESPACE_EVENT);
    assert_eq!(driver.identified(0, 1)[..8], (DISK * 2 / 512).to_le_bytes());

    driver.bench.disk.resize(DISK * 3);
    driver.bench.card.refresh().unwrap();
    assert_eq!(driver.take_answer(), None, "the first is not answered for");
    let page = driver.page;
    driver.log([0x04 | 1 << 15 | 1023 << 16, 0, 0, 0], [page, 0]).ok();
    assert_eq!(driver.bench.load_words(page), [1, 0]);
    assert_eq!(driver.take_answer(), None, "it was to be kept");
    assert_eq!(driver.logged(0x04, 4096)[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(driver.logged(0x04, 4096)[..4], [0; 4]);

    driver.bench.disk.resize(DISK * 4);
    driver.bench.card.refresh().unwrap();
    assert_eq!(driver.take_answer().unwrap().ok().result, NAMESPACE_EVENT);
}

#[test]
fn n39_an_event_waits_for_a_request() {
    let mut driver = Driver::ready(1);
    driver.set(0x0b, 0x100).ok();
    driver.bench.disk.resize(DISK * 2);
    driver.bench.card.refresh().unwrap();
    assert_eq!(driver.take_answer(), None);
    let id = driver.request_event();
    let told = driver.take_answer().unwrap().ok();
    assert_eq!((told.id, told.result), (id, NAMESPACE_EVENT));
}

#[test]
fn n36_events_that_are_not_wanted_are_not_told() {
    let mut driver = Driver::ready(1);
    driver.request_event();
    driver.bench.disk.resize(DISK * 2);
    driver.bench.card.refresh().unwrap();
    assert_eq!(driver.take_answer(), None);
}

#[test]
fn n54_a_doorbell_written_wrong_is_told_and_does_nothing() {
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    for (doorbell, value, result) in [
        (sq_doorbell(1), 8, 0x0001_0100),
        (sq_doorbell(1), 0xffff, 0x0001_0100),
        (cq_doorbell(1), 1, 0x0001_0100),
        (cq_doorbell(1), 9, 0x0001_0100),
        (sq_doorbell(0), 32, 0x0001_0100),
        (sq_doorbell(2), 1, 0x0001_0000),
        (cq_doorbell(7), 1, 0x0001_0000),
    ] {
        driver.request_event();
        driver.bench.write(doorbell, value);
        driver.bench.settle();
        let told = driver.take_answer().unwrap().ok();
        assert_eq!(told.result, result, "{doorbell:#x} {value:#x}");
        driver.logged(0x01, 64);
        driver.io(&mut pair, blocks(2, [page, 0], 0, 1, 0)).ok();
    }
    assert_eq!(driver.status(), 1);
}

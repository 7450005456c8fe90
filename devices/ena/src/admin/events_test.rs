//! Events: link, keep-alive, room, hints (specification 11.1: AEN).

use std::time::{Duration, Instant};

use net::backend::QueueError;

use crate::testing::driver::{AENQ_DEPTH, Driver, Event, reg, transmit};

const LINK: u16 = 0;
const KEEP_ALIVE: u16 = 4;

fn at_second(driver: &Driver, start: Instant, second: u64) {
    driver.bench.tick(start + Duration::from_millis(second * 1000 + 50));
}

fn events(driver: &mut Driver) -> Vec<Event> {
    std::iter::from_fn(|| driver.take_event()).collect()
}

fn groups(driver: &mut Driver) -> Vec<u16> {
    events(driver).iter().map(|event| event.group).collect()
}

#[test]
fn aen_1_nothing_is_posted_before_the_driver_gives_room() {
    let mut driver = Driver::new(1);
    driver.attach();
    driver.set(26, &[0, 0x1f & 0xd9]).ok();
    at_second(&driver, Instant::now(), 10);
    assert!(groups(&mut driver).is_empty());
}

#[test]
fn aen_2_the_link_is_told_once_when_there_is_room() {
    let mut driver = Driver::probed(1);
    let [event] = events(&mut driver)[..] else { panic!("one event") };
    assert_eq!((event.group, event.syndrome, event.data[0]), (LINK, 0, 1));
    driver.free_events();
    assert!(groups(&mut driver).is_empty());
}

#[test]
fn aen_3_the_link_is_told_when_its_group_comes_later() {
    let mut driver = Driver::new(1);
    driver.attach();
    driver.bench.write(reg::AENQ_HEAD, AENQ_DEPTH.into());
    assert!(groups(&mut driver).is_empty());
    driver.set(26, &[0, 1]).ok();
    assert_eq!(groups(&mut driver), [LINK]);
    driver.set(26, &[0, 1]).ok();
    assert_eq!(groups(&mut driver), [LINK]);
}

#[test]
fn aen_4_and_6_keep_alives_come_each_second_over_many_laps() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    assert_eq!(groups(&mut driver), [LINK]);
    let before = driver.bench.interrupts(0);
    for second in 1..600 {
        at_second(&driver, start, second);
        assert_eq!(groups(&mut driver), [KEEP_ALIVE], "second {second}");
        driver.free_events();
        driver.bench.tick(start + Duration::from_millis(second * 1000 + 400));
        assert!(groups(&mut driver).is_empty(), "second {second}");
    }
    assert_eq!(driver.bench.interrupts(0), before + 599);
}

#[test]
fn aen_5_without_room_keep_alives_are_lost_and_the_link_waits() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    for second in 1..=30 {
        at_second(&driver, start, second);
    }
    let posted = groups(&mut driver);
    assert_eq!(posted.len(), usize::from(AENQ_DEPTH));
    driver.set(26, &[0, 0x11]).ok();
    assert!(groups(&mut driver).is_empty());
    driver.free_events();
    assert_eq!(groups(&mut driver), [LINK]);
}

#[test]
fn aen_7_without_their_group_there_are_no_keep_alives() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    driver.set(26, &[0, 0]).ok();
    groups(&mut driver);
    for second in 1..10 {
        at_second(&driver, start, second);
    }
    assert!(groups(&mut driver).is_empty());
}

#[test]
fn aen_10_a_driver_that_left_gets_no_more_events() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    groups(&mut driver);
    driver.set_response(0);
    at_second(&driver, start, 5);
    assert!(groups(&mut driver).is_empty());
    driver.set_response(driver.cell());
    at_second(&driver, start, 7);
    assert!(groups(&mut driver).is_empty());
    driver.reset(0);
    driver.probe();
    assert_eq!(groups(&mut driver), [LINK]);
}

#[test]
fn room_given_backwards_or_too_far_is_cut_to_the_ring() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    driver.bench.write(reg::AENQ_HEAD, 0x7000);
    for second in 1..=40 {
        at_second(&driver, start, second);
    }
    driver.bench.write(reg::AENQ_HEAD, 0);
    groups(&mut driver);
    at_second(&driver, start, 41);
    assert!(groups(&mut driver).is_empty());
}

#[test]
fn the_fatal_state_asks_for_a_reset_once_and_falls_silent() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    driver.set(26, &[0, 0xd9]).ok();
    groups(&mut driver);
    driver.free_events();
    driver.bench.write(reg::AQ_DB, 0x7fff);
    for second in 1..10 {
        at_second(&driver, start, second);
    }
    assert_eq!(groups(&mut driver), [7]);
}

#[test]
fn aen_8_a_dropped_frame_shows_in_the_next_keep_alive() {
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.post(&mut tx, transmit(1, 0xe000_0000, 60));
    driver.ring(&tx);
    let [first, ..] = driver.take_completion(&mut tx).unwrap();
    assert_eq!(first >> 16 & 0xff, 1);
    events(&mut driver);
    at_second(&driver, start, 1);
    let [event] = events(&mut driver)[..] else { panic!("one event") };
    assert_eq!((event.group, &event.data[..4]), (KEEP_ALIVE, &[0, 0, 1, 0][..]));
}

#[test]
fn aen_9_a_lost_link_is_told_once() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    events(&mut driver);
    let gone = QueueError::Gone(std::io::Error::other("unplugged"));
    driver.bench.stages[0].scene().send_errors.push_back(gone);
    driver.send(&mut tx, 1, &[0; 60]);
    driver.bench.settle();
    driver.bench.settle();
    let [event] = events(&mut driver)[..] else { panic!("one event") };
    assert_eq!((event.group, event.data[0]), (LINK, 0));
}

#[test]
fn a_resumed_machine_posts_a_keep_alive_at_once() {
    use device_core::device::Device;
    let start = Instant::now();
    let mut driver = Driver::probed(1);
    events(&mut driver);
    driver.bench.card.stop();
    at_second(&driver, start, 5);
    assert!(groups(&mut driver).is_empty(), "not while it rests");
    driver.bench.card.start();
    driver.bench.settle();
    assert_eq!(groups(&mut driver), [KEEP_ALIVE]);
}

//! Tests of what a balloon offers, shows and is asked by its owner (virtio 1.2, 5.5.2 to 5.5.4).

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::testing::balloon::{ALL, TestBalloon, everything};

fn config(balloon: &Balloon) -> [u32; 4] {
    [0, 4, 8, 12].map(|offset| balloon.read_config(offset, Width::B4) as u32)
}

#[test]
fn it_is_device_5_with_the_features_and_queues_that_were_asked_for() {
    let offers = |spec: BalloonSpec| {
        let test = TestBalloon::with(&spec, 5);
        (test.balloon.features(), test.balloon.queue_sizes().len())
    };
    let plain = BalloonSpec::default();
    assert_eq!(TestBalloon::with(&plain, 2).balloon.kind(), 5);
    assert_eq!(offers(plain.clone()), (0, 2));
    assert_eq!(offers(BalloonSpec { deflate_on_oom: true, ..plain.clone() }), (1 << 2, 2));
    assert_eq!(offers(BalloonSpec { statistics_s: 1, ..plain.clone() }), (1 << 1, 3));
    assert_eq!(offers(BalloonSpec { hinting: true, ..plain.clone() }), (1 << 3 | 1 << 4, 3));
    assert_eq!(offers(BalloonSpec { reporting: true, ..plain }), (1 << 5 | 1 << 4, 3));
    assert_eq!(offers(everything()), (ALL, 5));
}

#[test]
fn the_configuration_shows_what_is_wanted_and_takes_what_is_so() {
    let test = TestBalloon::with(&BalloonSpec { amount_mib: 3, ..everything() }, 5);
    assert_eq!(config(&test.balloon), [768, 0, 0, 0], "before any driver");
    test.start(ALL);
    test.balloon.write_config(4, Width::B4, 700);
    test.balloon.write_config(12, Width::B4, 0xaaaa_aaaa);
    assert_eq!(config(&test.balloon), [768, 700, 0, 0xaaaa_aaaa]);
    assert_eq!(test.balloon.actual(), 700);
    assert_eq!(test.balloon.read_config(2, Width::B2), 0);
    assert_eq!(test.balloon.read_config(0, Width::B8), 700 << 32 | 768);
    assert_eq!(test.balloon.read_config(5, Width::B1), 2);
    for offset in [16, 20, u64::MAX] {
        assert_eq!(test.balloon.read_config(offset, Width::B8), 0);
    }
}

#[test]
fn what_is_not_the_drivers_to_write_stays() {
    let test = TestBalloon::new();
    for (offset, width) in [
        (0, Width::B4),
        (8, Width::B4),
        (4, Width::B2),
        (4, Width::B8),
        (6, Width::B4),
        (u64::MAX, Width::B1),
    ] {
        test.balloon.write_config(offset, width, 9);
    }
    assert_eq!(config(&test.balloon), [0; 4]);
    assert_eq!(test.balloon.refused_writes(), 6);
}

#[test]
fn a_driver_is_told_of_a_new_target_and_one_that_is_not_loaded_reads_it_later() {
    let test = TestBalloon::with(&everything(), 5);
    test.balloon.set_target(512);
    assert_eq!(test.guest.notice.config_changes(), 0);
    test.start(ALL);
    assert_eq!(config(&test.balloon)[0], 512);
    test.balloon.set_target(256);
    assert_eq!((test.guest.notice.config_changes(), config(&test.balloon)[0]), (1, 256));
}

#[test]
fn reaching_the_target_is_told_once() {
    let test = TestBalloon::new();
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    test.balloon.set_listener(Some(Box::new(move |BalloonEvent::Reached { pages }| {
        assert_eq!(pages, 256);
        count.fetch_add(1, Ordering::SeqCst);
    })));
    test.balloon.set_target(256);
    for actual in [100, 255, 256, 256] {
        test.balloon.write_config(4, Width::B4, actual);
    }
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn a_reset_forgets_what_the_driver_said_and_keeps_what_the_owner_wants() {
    let mut test = TestBalloon::new();
    test.balloon.set_target(256);
    test.balloon.start_hinting(true).unwrap();
    test.say(2);
    test.balloon.write_config(4, Width::B4, 256);
    test.balloon.write_config(12, Width::B4, 1);
    drop(test.balloon.unplug());
    test.balloon.reset();
    assert_eq!(config(&test.balloon), [256, 0, 0, 0]);
    let nothing = HintStatus { host_cmd: 0, guest_cmd: None };
    assert_eq!(test.balloon.hinting(), Ok(nothing));
    assert_eq!(test.balloon.statistics().unwrap().iter().count(), 0);
    let before = test.guest.notice.config_changes();
    test.balloon.set_target(0);
    assert_eq!(test.guest.notice.config_changes(), before, "there is no driver to tell");
}

#[test]
fn what_was_not_asked_for_when_it_was_made_is_refused() {
    let plain = TestBalloon::with(&BalloonSpec::default(), 2);
    assert_eq!(plain.balloon.statistics(), Err(ControlError::NoStatistics));
    assert_eq!(plain.balloon.set_interval(1), Err(ControlError::StatisticsFixed));
    assert_eq!(plain.balloon.set_interval(0), Ok(()));
    assert_eq!(plain.balloon.start_hinting(true), Err(ControlError::NoHinting));
    assert_eq!(plain.balloon.stop_hinting(), Err(ControlError::NoHinting));
    assert_eq!(plain.balloon.hinting(), Err(ControlError::NoHinting));
    let all = TestBalloon::new();
    assert_eq!(all.balloon.set_interval(0), Err(ControlError::StatisticsFixed));
    assert_eq!((all.balloon.set_interval(7), all.balloon.interval_s()), (Ok(()), 7));
}

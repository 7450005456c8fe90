//! Features and statistics (specification 11.1: FEA).

use std::time::{Duration, Instant};

use crate::testing::driver::Driver;

#[test]
fn fea_1_attributes_have_a_unicast_address_and_features_that_work() {
    let mut driver = Driver::probed(1);
    let attributes = driver.get(1, 0).ok();
    assert_eq!(attributes.byte(24) & 1, 0);
    assert_eq!(attributes.word(12), 0x1d);
    assert_eq!((attributes.word(16), attributes.word(20)), (48, 48));
    assert_eq!(attributes.word(32), 9216);
    let set_only = [14, 28];
    for feature in (1..32).filter(|feature| attributes.word(8) >> feature & 1 != 0) {
        let expected = if set_only.contains(&feature) { 3 } else { 0 };
        assert_eq!(driver.get(feature, 1).status, expected, "feature {feature}");
    }
}

#[test]
fn fea_2_and_3_queue_limits_are_such_that_drivers_take_them() {
    let mut driver = Driver::probed(4);
    let limits = driver.get(7, 1).ok();
    assert_eq!(limits.byte(0), 1);
    assert_eq!([4, 8, 12, 16].map(|at| limits.word(at)), [4; 4]);
    for at in [20, 24, 28, 32] {
        assert!(limits.word(at).is_power_of_two() && limits.word(at) >= 256, "{at}");
    }
    assert_ne!(limits.word(36) % 256, 0);
    assert_eq!((limits.half(40), limits.half(42)), (19, 19));
    assert_eq!(driver.get(2, 0).ok().word(0), 4);
}

#[test]
fn fea_6_a_key_comes_back_only_after_it_was_set() {
    let mut driver = Driver::new(1);
    driver.attach();
    let buffer = driver.bench.allocate(48);
    driver.bench.store(buffer, &[0x77; 48]);
    driver.get_into(10, 0, buffer, 48).ok();
    assert_eq!(driver.bench.load(buffer, 48), [0x77; 48]);
    let key: [u8; 40] = std::array::from_fn(|n| n as u8);
    driver.set_key(buffer, &key, 5).ok();
    driver.bench.store(buffer, &[0; 48]);
    assert_eq!(driver.get_into(10, 0, buffer, 48).ok().word(8), 5);
    assert_eq!(driver.bench.load_words(buffer), [10, 0]);
    assert_eq!(driver.bench.load(buffer + 8, 40), key);
    driver.bench.store(buffer, &[0xee; 48]);
    driver.get_into(10, 0, buffer, 12).ok();
    assert_eq!(driver.bench.load(buffer + 12, 4), [0xee; 4], "no more than the buffer holds");
}

#[test]
fn fea_7_wrong_hash_functions_leave_the_key() {
    let mut driver = Driver::new(1);
    driver.attach();
    let buffer = driver.bench.allocate(48);
    driver.set_key(buffer, &[3; 40], 0).ok();
    driver.bench.store(buffer + 8, &[4; 40]);
    for function in [0, 4, 6, 1, u32::MAX] {
        assert_eq!(driver.set_from(10, &[0, function, 0], buffer, 48).status, 5);
    }
    assert_eq!(driver.set_from(10, &[0, 2, 0], buffer, 47).status, 4);
    assert_eq!(driver.set_from(10, &[0, 2, 0], 0, 0).status, 4);
    assert_eq!(driver.set_from(10, &[0, 2, 0], 0x1ff_fff0, 48).status, 5);
    driver.bench.store_words(buffer, &[9]);
    assert_eq!(driver.set_from(10, &[0, 2, 0], buffer, 48).status, 5);
    driver.get_into(10, 0, buffer, 48).ok();
    assert_eq!(driver.bench.load(buffer + 8, 40), [3; 40]);
}

#[test]
fn fea_8_and_9_the_table_has_128_entries_of_queues_that_can_be() {
    let mut driver = Driver::probed(2);
    let sizes = driver.get(12, 1).ok();
    assert_eq!((sizes.half(0), sizes.half(2)), (7, 7));
    let buffer = driver.bench.allocate(512);
    let table: Vec<u32> = (0..128).map(|n| n % 2).collect();
    driver.bench.store_words(buffer, &table);
    driver.set_from(12, &[0, 7, u32::MAX, 0], buffer, 512).ok();
    let bad = driver.bench.allocate(512);
    driver.bench.store_words(bad, &[2; 128]);
    assert_eq!(driver.set_from(12, &[0, 7, u32::MAX, 0], bad, 512).status, 5);
    assert_eq!(driver.set_from(12, &[0, 7, u32::MAX, 0], bad, 511).status, 4);
    assert_eq!(driver.set_from(12, &[0, 6, u32::MAX, 0], buffer, 512).status, 5);
    assert_eq!(driver.set_from(12, &[0, 8, u32::MAX, 0], buffer, 1024).status, 5);
    assert_eq!(driver.set(12, &[0, 7, 128, 0]).status, 5);
    assert_eq!(driver.set(12, &[0, 7, 3, 2]).status, 5);
    driver.set(12, &[0, 7, 2, 1]).ok();
    driver.get_into(12, 0, bad, 512).ok();
    let [first, second, third, ..]: [u32; 128] = driver.bench.load_words(bad);
    assert_eq!([first, second, third], [0, 1, 1]);
}

#[test]
fn fea_10_and_11_hash_fields_are_taken_within_what_is_supported() {
    let mut driver = Driver::probed(1);
    let buffer = driver.bench.allocate(256);
    assert_eq!(driver.get_into(18, 0, buffer, 256).ok().word(0), 0);
    let words: [u32; 64] = driver.bench.load_words(buffer);
    for (supported, selected) in words[..16].iter().zip(&words[16..32]) {
        assert_eq!(selected & !supported, 0);
    }
    assert_eq!(words[..4], [0x3c; 4]);
    driver.bench.store_words(buffer + 64, &[0x0c]);
    driver.set_from(18, &[6 << 16], buffer, 256).ok();
    driver.bench.store_words(buffer + 64, &[0x7c]);
    assert_eq!(driver.set_from(18, &[0], buffer, 256).status, 5);
    assert_eq!(driver.set_from(18, &[0], buffer, 100).status, 4);
    driver.get_into(18, 0, buffer, 256).ok();
    assert_eq!(driver.bench.load_words(buffer + 64), [0x0c]);
}

#[test]
fn fea_12_the_mtu_is_taken_within_its_bounds() {
    let mut driver = Driver::probed(1);
    for (mtu, status) in [(127, 5), (128, 0), (9216, 0), (9217, 5), (0, 5), (u32::MAX, 5)] {
        assert_eq!(driver.set(14, &[mtu]).status, status, "{mtu}");
    }
}

#[test]
fn fea_14_groups_not_offered_are_refused() {
    let mut driver = Driver::probed(1);
    for groups in [0x100, 0x2, 0x4, 0x20, u32::MAX] {
        assert_eq!(driver.set(26, &[0, groups]).status, 5, "{groups:#x}");
    }
    driver.set(26, &[0, 0]).ok();
    assert_eq!(driver.get(26, 0).ok().word(4), 0);
}

#[test]
fn fea_15_host_attributes_are_read_and_never_written() {
    let mut driver = Driver::probed(1);
    let page = driver.bench.allocate(0x2000);
    driver.bench.store(page, &[0xa5; 0x2000]);
    driver.set(28, &[page as u32, 0, page as u32 + 0x1000, 0, 0x1000]).ok();
    for address in [0, 0xffff_f000, 0x1ff_ffff] {
        driver.set(28, &[address, 0xffff, address, 0xffff, u32::MAX]).ok();
    }
    assert_eq!(driver.bench.load(page, 0x2000), [0xa5; 0x2000]);
}

#[test]
fn fea_16_totals_are_the_same_for_every_scope() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &[0; 60]);
    let totals = driver.stats(0, 0, 0, 0).ok();
    assert_eq!((totals.double(0), totals.double(8)), (60, 1));
    let scoped = driver.stats(1 << 8, 0, 0, 0).ok();
    assert_eq!(scoped.words[2..], totals.words[2..]);
    driver.reset(0);
    driver.probe();
    assert_eq!(driver.stats(0, 0, 0, 0).ok().double(8), 0);
}

#[test]
fn fea_17_metrics_are_asked_for_and_then_read() {
    let mut driver = Driver::probed(1);
    assert_eq!(driver.stats(4, 0, 0, 0x3f).ok().double(0), 0x3f);
    assert_eq!(driver.stats(4, 0, 0, u64::MAX).ok().double(0), 0x3f);
    let buffer = driver.bench.allocate(512);
    driver.bench.store(buffer, &[0xff; 512]);
    assert_eq!(driver.stats(4, buffer, 512, 0x21).ok().double(0), 0x21);
    assert_eq!(driver.bench.load(buffer + 16, 8), [0xff; 8], "one value for each bit");
    assert_ne!(driver.bench.load(buffer, 8), [0xff; 8]);
    driver.stats(4, buffer, 512, 0x20).ok();
    let left = driver.bench.load_words::<2>(buffer);
    assert_eq!(left, [1 << 21, 0], "not limited: a large number, and no negative one");
    assert_eq!(driver.stats(4, buffer, 47, 0x3f).status, 4);
    assert_eq!(driver.stats(4, 0x1ff_fff8, 48, 0x3f).status, 5);
    driver.stats(2, 0, 0, 0).ok();
    for kind in [1, 3, 5, 255] {
        assert_eq!(driver.stats(kind, 0, 0, 0).status, 3, "{kind}");
    }
}

#[test]
fn int_5_interrupts_are_put_off_as_a_driver_asks() {
    let mut driver = Driver::probed(1);
    // Microseconds.
    assert_eq!(driver.get(20, 0).ok().word(0), 1);
    assert_eq!(driver.set(20, &[64]).status, 3);
    let (mut tx, mut rx) = (driver.create_tx(256, 1), driver.create_rx(256, 1));
    driver.unmask_later(&tx, 0, 1000);
    driver.send(&mut tx, 1, &[0x11; 60]);
    assert!(driver.take_completion(&mut tx).is_some(), "only the interrupt has to wait");
    let deadline = Instant::now() + Duration::from_secs(20);
    while driver.bench.interrupts(1) == 0 {
        assert!(Instant::now() < deadline, "an interrupt that was put off is lost");
        driver.bench.settle();
    }
    driver.unmask_later(&rx, 0, 1000);
    driver.post_buffer(&mut rx, 1, 2048);
    driver.ring(&rx);
    driver.bench.stages[0].bring(vec![0xff; 60]);
    driver.bench.settle();
    assert_eq!(driver.bench.interrupts(1), 2, "with no delay it comes at once");
}

//! Log pages (N40 to N43).

use crate::stats::BINS;
use crate::testing::bench::Bench;
use crate::testing::driver::{Driver, blocks};

fn double(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
}

#[test]
fn n40_pages_are_there_or_not() {
    let mut driver = Driver::ready(1);
    for (page, len) in [(1, 64), (2, 512), (3, 512), (4, 4096), (5, 4096), (0xd0, 4096)] {
        driver.logged(page, len);
    }
    let at = driver.page;
    for page in [0, 6, 0x7f, 0xc0] {
        driver.log([page | 127 << 16, 0, 0, 0], [at, 0]).refused(0x109);
    }
    driver.bench.store(at, &[9; 8]);
    driver.log([2, 0, 0, 0], [at, 0]).ok();
    assert_eq!(driver.bench.load(at, 8), [0, 44, 1, 100, 9, 9, 9, 9]);
    let mut words = crate::testing::driver::command(2, 2, [at, 0]);
    words[10] = 2;
    driver.command(words).refused(0x00b);
}

#[test]
fn n41_amazon_s_tool_gets_a_page_and_nothing_beyond_it() {
    let mut driver = Driver::ready(1);
    let at = driver.page;
    driver.bench.store(0, &[7; 8]);
    driver.bench.store(at + 4096, &[7; 8]);
    driver.log([0xd0 | 1024 << 16, 0, 0, 0], [at, 0]).ok();
    assert_eq!(driver.bench.load_words(at), [0x3c23_b510]);
    assert_eq!(driver.bench.load(0, 8), [7; 8]);
    assert_eq!(driver.bench.load(at + 4096, 8), [7; 8]);
}

#[test]
fn n42_parts_of_pages_are_given_as_far_as_there_are_any() {
    let mut driver = Driver::ready(1);
    let at = driver.page;
    let whole = driver.logged(5, 4096);
    driver.bench.store(at, &[9; 4096]);
    driver.log([5 | 0xffff << 16, 0xffff, 1024, 0], [at, 0]).ok();
    assert_eq!(driver.bench.load(at, 3072), whole[1024..]);
    assert_eq!(driver.bench.load(at + 3072, 1024), [9; 1024]);
    driver.log([5, 0, 4096, 0], [at, 0]).ok();
    for (low, high) in [(2, 0), (4100, 0), (0, 1), (!3, u32::MAX)] {
        driver.log([5, 0, low, high], [at, 0]).refused(0x002);
    }
}

#[test]
fn n43_health_counts_what_was_moved() {
    let mut driver = Driver::ready(2);
    let page = driver.logged(2, 512);
    assert_eq!(page[0], 0, "critical warning");
    assert!(page[3] >= page[4]);
    assert!(page[32..].iter().all(|byte| *byte == 0));
    let at = driver.page;
    for id in [1, 2] {
        let mut pair = driver.create_pair(id, 8);
        for _ in 0..id {
            driver.io(&mut pair, blocks(2, [at, 0], 0, 8, 0)).ok();
        }
        driver.io(&mut pair, blocks(1, [at, 0], 0, 1, 0)).ok();
        driver.bench.disk.force(Some(block::request::Outcome::Medium));
        driver.io(&mut pair, blocks(1, [at, 0], 0, 1, 0));
        driver.bench.disk.force(None);
    }
    let page = driver.logged(2, 512);
    let counts = [32, 48, 64, 80, 160].map(|at| double(&page, at));
    assert_eq!(counts, [1, 1, 3, 2, 2]);
}

#[test]
fn n77_the_time_that_limits_took_is_told_for_each() {
    let mut driver = Driver::ready(1);
    driver.bench.disk.set_throttled_us(5, 7_000_000);
    let page = driver.logged(0xd0, 4096);
    assert_eq!([56, 64, 72, 80].map(|at| double(&page, at)), [7_000_000, 5, 0, 0]);
}

fn numbers(page: &[u8]) -> Vec<u64> {
    page.chunks(64).map(|entry| double(entry, 0)).take_while(|number| *number != 0).collect()
}

#[test]
fn errors_are_logged_with_the_command_that_met_them() {
    use crate::testing::driver::{MORE, command, reg, sq_doorbell};
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 8);
    let at = driver.page;
    assert_eq!(driver.identified(1, 0)[262], 63);
    assert_eq!(driver.logged(1, 4096), [0; 4096]);

    driver.io(&mut pair, blocks(2, [at, 0], 0, 1, 0)).ok();
    driver.bench.disk.force(Some(block::request::Outcome::Medium));
    let failed = driver.io(&mut pair, blocks(2, [at, 0], 0x1_2345_6789, 1, 0));
    driver.bench.disk.force(None);
    let malformed = driver.io(&mut pair, blocks(2, [at, 0], 7, 1, 1 << 26));
    let admin = driver.command(command(0x80, 9, [0; 2]));
    driver.bench.write(sq_doorbell(2), 1);
    driver.bench.settle();

    let page = driver.logged(1, 4096);
    assert_eq!(numbers(&page), [4, 3, 2, 1]);
    let entry = |n: usize| {
        let half = |at: usize| u16::from_le_bytes([page[n * 64 + at], page[n * 64 + at + 1]]);
        (half(8), half(10), half(12) >> 1, double(&page, n * 64 + 16), page[n * 64 + 24])
    };
    assert_eq!(entry(3), (1, failed.id, failed.status, 0x1_2345_6789, 1));
    assert_eq!(entry(2), (1, malformed.id, malformed.status, 7, 1));
    assert_eq!(entry(1), (0, admin.id, admin.status, 0, 9));
    let (queue, id, status, ..) = entry(0);
    assert_eq!((queue, id, status & 0x7ff), (0xffff, 0xffff, 0x101), "of no command");
    assert_eq!([failed, malformed, admin].map(|answer| answer.status & MORE), [MORE; 3]);
    assert_eq!(double(&driver.logged(2, 512), 176), 4);

    driver.bench.write(reg::CC, 0);
    driver.enable();
    assert_eq!(driver.logged(1, 4096), [0; 4096]);
    assert_eq!(double(&driver.logged(2, 512), 176), 4, "and none is forgotten");
}

#[test]
fn statistics_are_where_amazon_s_tools_look() {
    let mut driver = Driver::ready(1);
    let mut pair = driver.create_pair(1, 8);
    let at = driver.page;
    for _ in 0..3 {
        driver.io(&mut pair, blocks(2, [at, 0], 0, 8, 0)).ok();
    }
    driver.io(&mut pair, blocks(1, [at, 0], 0, 2, 0)).ok();
    driver.bench.disk.hold(true);
    driver.enqueue(&mut pair, blocks(2, [at, 0], 0, 8, 0));
    driver.ring(&pair);
    driver.bench.settle();
    driver.bench.allocate(0x1000);
    let page = driver.logged(0xd0, 4096);
    assert_eq!([8, 16, 24, 32].map(|at| double(&page, at)), [3, 1, 3 * 4096, 1024]);
    assert_eq!(double(&page, 88), 1, "requests in flight");
    for (begin, total) in [(512, 3), (2056, 1)] {
        assert_eq!(double(&page, begin), BINS as u64);
        let bins = (0..BINS).map(|bin| begin + 8 + bin * 24);
        let counts = bins.clone().map(|at| double(&page, at + 16) & 0xffff_ffff);
        assert_eq!(counts.sum::<u64>(), total);
        for (this, next) in bins.clone().zip(bins.skip(1)) {
            assert_eq!(double(&page, this + 8), double(&page, next));
        }
    }
    let mut instance = Driver::on(Bench::of(
        &block::spec::DiskSpec {
            model: block::spec::Model::NvmeInstance,
            ..crate::testing::bench::spec()
        },
        1,
    ))
    .enabled();
    assert_eq!(instance.logged(0xd0, 4), 0xec2c_0d7eu32.to_le_bytes());
}

#[test]
fn the_log_of_effects_names_the_commands_that_there_are() {
    let page = Driver::ready(1).logged(5, 4096);
    let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
    assert_eq!((word(0x06 * 4), word(0x18 * 4), word(0xc0 * 4)), (1, 0, 0));
    assert_eq!((word(1024 + 4), word(1024 + 8), word(1024 + 4 * 4)), (3, 1, 0));
}

//! I/O commands as a host meets them (N55, N56, N60 to N76).

use block::request::Range;
use proptest::prelude::*;

use super::*;
use crate::testing::bench::{Bench, DISK, MEMORY, spec};
use crate::testing::disk::Asked;
use crate::testing::driver::{Driver, MORE, Pair, blocks, command};

const BLOCKS: u64 = DISK / 512;
const FUA_BIT: u32 = 1 << 30;

fn driver() -> (Driver, Pair) {
    let mut driver = Driver::ready(2);
    let pair = driver.create_pair(1, 64);
    (driver, pair)
}

fn asked(driver: &Driver) -> Vec<Operation> {
    driver.bench.disk.take_asked().into_iter().map(|asked| asked.operation).collect()
}

#[test]
fn n60_one_block_and_the_longest_transfer_are_done_and_longer_ones_refused() {
    let (mut driver, mut pair) = driver();
    let data = driver.bench.allocate(MAX_TRANSFER.into());
    let list = driver.bench.allocate(0x1000);
    let pages: Vec<u32> = (1..64).flat_map(|n| [data as u32 + n * 4096, 0]).collect();
    driver.bench.store_words(list, &pages);
    let bytes: Vec<u8> = (0..MAX_TRANSFER).map(|n| (n / 512) as u8 ^ n as u8).collect();
    driver.bench.store(data, &bytes);
    driver.io(&mut pair, blocks(io::WRITE, [data, list], 16, 512, 0)).ok();
    assert_eq!(driver.bench.disk.load(16 * 512, bytes.len()), bytes);
    driver.bench.store(data, &vec![0; bytes.len()]);
    driver.io(&mut pair, blocks(io::READ, [data, list], 16, 512, 0)).ok();
    assert_eq!(driver.bench.load(data, bytes.len()), bytes);
    driver.io(&mut pair, blocks(io::READ, [data, list], 0, 1, 0)).ok();
    for count in [513, 0x1_0000] {
        driver.io(&mut pair, blocks(io::READ, [data, list], 0, count, 0)).refused(0x002);
    }
}

#[test]
fn n61_the_last_block_is_there_and_the_next_is_not() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    driver.io(&mut pair, blocks(io::READ, [page, 0], BLOCKS - 1, 1, 0)).ok();
    driver.bench.store(page, &[7; 4096]);
    for (first, count) in [(BLOCKS - 1, 2), (BLOCKS, 1), (u64::MAX, 1), (u64::MAX / 512, 1)] {
        for opcode in [io::READ, io::WRITE, io::COMPARE, io::WRITE_ZEROES] {
            driver.io(&mut pair, blocks(opcode, [page, 0], first, count, 0)).refused(0x080);
        }
    }
    assert_eq!(driver.bench.load(page, 4096), [7; 4096]);
    assert_eq!(driver.bench.disk.load(DISK as usize - 512, 512), [0; 512]);
}

#[test]
fn n62_there_is_one_namespace() {
    let (mut driver, mut pair) = driver();
    for namespace in [0, 2, u32::MAX] {
        for opcode in [io::READ, io::WRITE, io::DATASET, io::WRITE_ZEROES] {
            let mut words = blocks(opcode, [driver.page, 0], 0, 1, 0);
            words[1] = namespace;
            driver.io(&mut pair, words).refused(0x00b);
        }
    }
    assert_eq!(asked(&driver), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn n63_data_of_every_shape_arrives_where_it_was_told(
        offset in prop::sample::select(vec![0u64, 4, 512, 4092]),
        count in prop::sample::select(vec![1u32, 2, 7, 8, 9, 16, 17, 64, 511, 512]),
        list_offset in prop::sample::select(vec![0u64, 8, 0xff8]),
        order in Just((0u64..66).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (mut driver, mut pair) = driver();
        let pages = driver.bench.allocate(66 * 4096);
        let lists = driver.bench.allocate(2 * 4096);
        let page = |n: usize| pages + order[n] * 4096;
        let needed = (u64::from(count) * 512).saturating_sub(4096 - offset).div_ceil(4096) as usize;
        let second = if needed < 2 { page(1) } else { lists + list_offset };
        if needed > 1 {
            let slots = ((4096 - list_offset) / 8) as usize;
            let mut entries: Vec<u64> = (1..=needed).map(page).collect();
            let later = if needed > slots { entries.split_off(slots - 1) } else { Vec::new() };
            if !later.is_empty() {
                entries.push(lists + 4096);
            }
            for (at, entries) in [(second, entries), (lists + 4096, later)] {
                let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
                driver.bench.store(at, &bytes);
            }
        }
        let image: Vec<u8> = (0..count * 512).map(|n| (n / 509) as u8 ^ n as u8).collect();
        driver.bench.disk.store(0, &image);
        driver.io(&mut pair, blocks(io::READ, [page(0) + offset, second], 0, count, 0)).ok();
        let mut found = driver.bench.load(page(0) + offset, image.len().min(4096 - offset as usize));
        for n in 1..=needed {
            let left = image.len() - found.len();
            found.extend(driver.bench.load(page(n), left.min(4096)));
        }
        prop_assert!(found == image);
        driver.bench.disk.store(0, &vec![0; image.len()]);
        driver.io(&mut pair, blocks(io::WRITE, [page(0) + offset, second], 0, count, 0)).ok();
        prop_assert!(driver.bench.disk.load(0, image.len()) == image);
    }
}

#[test]
fn n65_and_n66_data_that_is_nowhere_moves_nothing() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    let cases = [
        ([page + 2, 0], 1, 0x013),
        ([page, page + 8], 16, 0x013),
        ([MEMORY, 0], 1, 0x004),
        ([page, MEMORY], 16, 0x004),
        ([page, MEMORY], 17, 0x004),
        ([0xe000_0000, 0], 1, 0x004),
        ([!0xfff, 0], 1, 0x004),
    ];
    for (prps, count, code) in cases {
        for opcode in [io::READ, io::WRITE] {
            driver.io(&mut pair, blocks(opcode, prps, 0, count, 0)).refused(code);
        }
    }
    assert_eq!(asked(&driver), []);
}

#[test]
fn n68_a_disk_that_is_not_written_says_so() {
    let mut driver = Driver::on(Bench::of(&block::spec::DiskSpec { read_only: true, ..spec() }, 1));
    driver = driver.enabled();
    assert_eq!(driver.identified(0, 1)[99], 1);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.bench.disk.force(Some(Outcome::ReadOnly));
    driver.io(&mut pair, blocks(io::WRITE, [page, 0], 0, 1, 0)).refused(0x020);
}

#[test]
fn n69_flushes_name_the_namespace_or_all() {
    let (mut driver, mut pair) = driver();
    for namespace in [1, u32::MAX] {
        driver.io(&mut pair, command(io::FLUSH, namespace, [0; 2])).ok();
    }
    assert_eq!(asked(&driver), [Operation::Flush, Operation::Flush]);
    driver.io(&mut pair, command(io::FLUSH, 2, [0; 2])).refused(0x00b);
}

#[test]
fn n70_forced_unit_access_makes_a_write_durable() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    for (opcode, flags, durable) in [
        (io::WRITE, FUA_BIT, true),
        (io::WRITE, 0, false),
        (io::WRITE_ZEROES, FUA_BIT, true),
        (io::READ, FUA_BIT, false),
        // A limited retry asks for nothing.
        (io::WRITE, 1 << 31, false),
    ] {
        driver.io(&mut pair, blocks(opcode, [page, 0], 0, 1, flags)).ok();
        let asked = driver.bench.disk.take_asked();
        assert_eq!(asked.iter().map(|one| one.durable).collect::<Vec<_>>(), [durable], "{opcode}");
    }
}

#[test]
fn n72_zeroes_are_not_limited_by_the_longest_transfer() {
    let (mut driver, mut pair) = driver();
    driver.bench.disk.resize(64 << 20);
    for (count, flags, unmap) in [(1, 0, false), (0x1_0000, 0, false), (8, 1 << 25, true)] {
        driver.io(&mut pair, blocks(io::WRITE_ZEROES, [0; 2], 5, count, flags)).ok();
        let len = u64::from(count) * 512;
        let expected = Asked {
            operation: Operation::WriteZeroes { unmap },
            offset: 0,
            len: 0,
            ranges: vec![Range { offset: 5 * 512, len }],
            durable: false,
        };
        assert_eq!(driver.bench.disk.take_asked(), [expected]);
    }
}

/// A Dataset Management range.
fn range(first: u64, count: u32) -> [u32; 4] {
    [0, count, first as u32, (first >> 32) as u32]
}

fn dataset(prps: [u64; 2], count: u32, attributes: u32) -> [u32; 16] {
    let mut words = command(io::DATASET, 1, prps);
    (words[10], words[11]) = (count - 1, attributes);
    words
}

#[test]
fn n73_ranges_are_given_back_all_or_none() {
    let (mut driver, mut pair) = driver();
    let pages = driver.bench.allocate(0x2000);
    let list: Vec<u32> = (0..256).flat_map(|n| range(n * 2, 1)).collect();
    let begin = pages + 0xff0;
    driver.bench.store_words(begin, &list);
    driver.io(&mut pair, dataset([begin, pages + 0x1000], 256, 4)).ok();
    let asked = driver.bench.disk.take_asked();
    assert_eq!(asked[0].operation, Operation::Discard);
    assert_eq!(asked[0].ranges.len(), 256);
    assert_eq!(asked[0].ranges[255], Range { offset: 510 * 512, len: 512 });

    let cases = [
        // Nothing, in three ways: the host does not want it, or there is nothing in it.
        (range(0, 8), 0, Ok(())),
        (range(0, 8), 3, Ok(())),
        (range(7, 0), 4, Ok(())),
        (range(u64::MAX / 4, 1), 4, Err(0x080)),
        (range(BLOCKS - 1, 2), 4, Err(0x080)),
        (range(BLOCKS, u32::MAX), 4, Err(0x080)),
    ];
    for (range, attributes, expected) in cases {
        driver.bench.store_words(driver.page, &range);
        let answer = driver.io(&mut pair, dataset([driver.page, 0], 1, attributes));
        match expected {
            Ok(()) => drop(answer.ok()),
            Err(code) => drop(answer.refused(code)),
        }
    }
    driver.io(&mut pair, dataset([MEMORY, 0], 1, 4)).refused(0x004);
}

#[test]
fn n74_commands_that_are_not_offered_are_none() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    for opcode in [0x04, 0x0c, 0x0d, 0x0e, 0x11, 0x15, 0x19, 0x80, 0xff] {
        driver.io(&mut pair, blocks(opcode, [page, 0], 0, 1, 0)).refused(0x001);
    }
    for bits in [0x100, 0x200, 0x4000, 0x8000] {
        let mut words = blocks(io::READ, [page, 0], 0, 1, 0);
        words[0] |= bits;
        driver.io(&mut pair, words).refused(0x002);
    }
}

#[test]
fn comparisons_tell_whether_bytes_are_the_same() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    driver.bench.disk.store(512, &[3; 512]);
    driver.bench.store(page, &[3; 512]);
    driver.io(&mut pair, blocks(io::COMPARE, [page, 0], 1, 1, 0)).ok();
    driver.io(&mut pair, blocks(io::COMPARE, [page, 0], 0, 1, 0)).refused(0x285);
}

#[test]
fn n75_protection_information_is_refused_and_metadata_ignored() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    for bit in 26..30 {
        driver.io(&mut pair, blocks(io::READ, [page, 0], 0, 1, 1 << bit)).refused(0x002);
    }
    let mut words = blocks(io::READ, [page, 0], 0, 1, 0);
    (words[4], words[5]) = (u32::MAX, u32::MAX);
    driver.io(&mut pair, words).ok();
}

#[test]
fn n76_each_outcome_has_its_status() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    let table = [
        (Outcome::ReadOnly, io::WRITE, 0x4020),
        (Outcome::OutOfRange, io::READ, 0x4080),
        (Outcome::Unsupported, io::WRITE_ZEROES, 0x4001),
        (Outcome::NoSpace, io::WRITE, 0x4081),
        (Outcome::Medium, io::READ, 0x4281),
        (Outcome::Medium, io::WRITE, 0x4280),
        (Outcome::BadMemory, io::READ, 0x4004),
        (Outcome::Differs, io::COMPARE, 0x4285),
        (Outcome::Aborted, io::READ, 0x0007),
        (Outcome::Done, io::READ, 0),
    ];
    for (outcome, opcode, status) in table {
        driver.bench.disk.force(Some(outcome));
        let answer = driver.io(&mut pair, blocks(opcode, [page, 0], 0, 1, 0));
        // What went wrong is in the log of errors.
        let more = if matches!(outcome, Outcome::Aborted | Outcome::Done) { 0 } else { MORE };
        assert_eq!(answer.status, status | more, "{outcome:?}");
    }
}

#[test]
fn n55_an_entry_is_read_once() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    driver.bench.disk.hold(true);
    let at = pair.commands;
    driver.enqueue(&mut pair, blocks(io::READ, [page, 0], 3, 1, 0));
    driver.ring(&pair);
    driver.bench.settle();
    // What the host writes there now is of no interest.
    driver.bench.store_words(at, &[u32::MAX; 16]);
    driver.bench.disk.release();
    assert_eq!(driver.bench.disk.take_asked()[0].offset, 3 * 512);
    assert_eq!(driver.take(&mut pair).unwrap().ok().id, 0x101 + 1);
}

#[test]
fn n56_two_commands_of_one_id_are_two() {
    let (mut driver, mut pair) = driver();
    let other = driver.bench.allocate(0x1000);
    driver.bench.disk.store(0, &[1; 512]);
    driver.bench.disk.store(512, &[2; 512]);
    driver.bench.disk.hold(true);
    for (first, page) in [(0, driver.page), (1, other)] {
        let at = pair.commands + u64::from(pair.tail) * 64;
        driver.enqueue(&mut pair, blocks(io::READ, [page, 0], first, 1, 0));
        driver.bench.store(at + 2, &[9, 0]);
    }
    driver.ring(&pair);
    driver.bench.settle();
    assert_eq!(driver.bench.disk.held(), 2);
    driver.bench.disk.release();
    for _ in 0..2 {
        assert_eq!(driver.take(&mut pair).unwrap().ok().id, 9);
    }
    assert_eq!(driver.bench.load(driver.page, 512), [1; 512]);
    assert_eq!(driver.bench.load(other, 512), [2; 512]);
}

#[test]
fn requests_complete_in_any_order_and_a_batch_interrupts_once() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    driver.bench.disk.hold(true);
    let ids: Vec<u16> =
        (0..32).map(|n| driver.enqueue(&mut pair, blocks(io::READ, [page, 0], n, 1, 0))).collect();
    driver.ring(&pair);
    driver.bench.settle();
    let before = driver.bench.interrupts(1);
    driver.bench.disk.release();
    assert_eq!(driver.bench.interrupts(1), before + 1);
    let found: Vec<u16> = std::iter::from_fn(|| driver.take(&mut pair)).map(|one| one.id).collect();
    assert_eq!(found, ids.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn a_request_that_was_put_back_is_taken_again() {
    let (mut driver, mut pair) = driver();
    let page = driver.page;
    driver.bench.disk.throttle(true);
    driver.enqueue(&mut pair, blocks(io::WRITE, [page, 0], 0, 1, 0));
    driver.ring(&pair);
    driver.bench.settle();
    assert_eq!(driver.take(&mut pair), None);
    driver.bench.disk.throttle(false);
    driver.bench.settle();
    assert_eq!(driver.take(&mut pair).unwrap().ok().head, 1);
    assert_eq!(asked(&driver), [Operation::Write]);
    let stats = &driver.bench.card.card().stats[0];
    assert_eq!((stats.in_flight(), stats.counters.writes.get()), (0, 1));
}

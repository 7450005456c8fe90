//! What drivers other than Linux's do to a controller from their first look on, each in its own order: SeaBIOS, EDK2,
//! FreeBSD, SPDK. After each comes Linux, to a controller as that one leaves it (N91, N92).

use block::request::Operation;
use device_core::bus::Width;

use crate::testing::bench::{Bench, DISK};
use crate::testing::driver::{
    Driver, ENABLE, Pair, READY, SHUT_DOWN, blocks, command, cq_doorbell, reg, sq_doorbell,
};

const FLUSH: u8 = 0;
const WRITE: u8 = 1;
const READ: u8 = 2;
/// Command sets of CAP: that of NVM.
const NVM: u64 = 1 << 37;
/// CAP's time for CSTS.RDY to follow CC.EN, in halves of a second.
const TIMEOUT: u64 = 24;

/// Bytes that differ from their neighbours.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8 ^ seed).collect()
}

/// Bit `RDY` follows `EN` at once, as nothing is in flight.
#[track_caller]
fn is_ready(driver: &mut Driver, ready: bool) {
    driver.bench.settle();
    assert_eq!(driver.status(), u32::from(ready), "CSTS");
}

/// A pair of I/O queues without interrupts, in pages of its own.
fn polled(driver: &mut Driver, id: u16, size: u16) -> Pair {
    let [commands, answers] = [64, 16].map(|entry| driver.bench.allocate(u64::from(size) * entry));
    driver.create_cq(id, size, None, answers).ok();
    driver.create_sq(id, size, id, commands).ok();
    let (sq, cq, cq_size) = (id, id, size);
    Pair { sq, cq, size, cq_size, commands, answers, tail: 0, head: 0, phase: true }
}

/// The data pointer of `len` bytes at `at`, which begins at a page: the second page itself, or a list of all but the
/// first.
fn pages(driver: &mut Driver, at: u64, len: u64) -> [u64; 2] {
    match len.div_ceil(0x1000) {
        0 | 1 => [at, 0],
        2 => [at, at + 0x1000],
        count => {
            let list = driver.bench.allocate(0x1000);
            let entries = (1..count).map(|nth| at + nth * 0x1000);
            let words: Vec<_> =
                entries.flat_map(|entry| [entry as u32, (entry >> 32) as u32]).collect();
            driver.bench.store_words(list, &words);
            [at, list]
        }
    }
}

/// What any of them looks for in the one namespace: blocks of 512 bytes without metadata, and how many.
#[track_caller]
fn has_blocks(page: &[u8]) {
    let double = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    assert_eq!((double(0), double(8)), (DISK / 512, DISK / 512), "NSZE and NCAP");
    let format = usize::from(page[26] & 0xf);
    assert!(format <= usize::from(page[25]), "FLBAS is one of NLBAF");
    assert_eq!(page[128 + 4 * format..][..4], [0, 0, 9, 0], "no metadata, 512 bytes");
}

/// The next system's driver begins with whatever state this one left, and reads what it wrote.
#[track_caller]
fn is_taken_over(driver: Driver, block: u64, wanted: &[u8]) {
    let mut next = Driver::with_admin(driver.bench, [32, 32]).enabled();
    next.set(7, 0x0003_0003).ok();
    let mut pair = next.create_pair(1, 64);
    let (page, before) = (next.page, next.bench.interrupts(1));
    next.io(&mut pair, blocks(READ, [page, 0], block, 1, 0)).ok();
    assert_eq!(next.bench.load(page, 512), wanted[..512]);
    assert_eq!(next.bench.interrupts(1) - before, 1);
}

/// One polled pair of 256 entries, commands called by their places, 64 KiB at most; nothing is ended when the system
/// is started.
#[test]
fn seabios_reads_through_one_polled_pair_and_leaves_it_behind() {
    let mut driver = Driver::with_admin(Bench::new(2), [64, 256]);
    let class = driver.bench.function.read_config(8, Width::B4) >> 8;
    assert_eq!(class, 0x01_0802, "it takes no other programming interface");
    driver.bench.set_bus_master(true);
    let capabilities = driver.bench.peek(reg::CAP, Width::B8);
    assert_ne!(capabilities & NVM, 0);
    assert_ne!(capabilities >> TIMEOUT & 0xff, 0, "it would not wait at all");
    driver.bench.write(reg::CC, 0);
    is_ready(&mut driver, false);
    driver.set_admin_queues();
    driver.bench.write(reg::CC, ENABLE);
    is_ready(&mut driver, true);
    let page = driver.identified(1, 0);
    assert_eq!((page[77], page[516]), (6, 1), "MDTS and NN");
    // Of as many entries as there may be, 256 at most: a place is masked, so it has to be a power of two.
    let most = (capabilities & 0xffff) as u16 + 1;
    assert!(most.is_power_of_two());
    let mut pair = polled(&mut driver, 1, most.min(256));
    has_blocks(&driver.identified(0, 1));

    let bytes = pattern(1 << 16, 1);
    driver.bench.disk.store(0, &bytes);
    let data = driver.bench.allocate(1 << 16);
    for nth in 0..600u64 {
        // A sector, two pages, and all that a list of its own has room for; with Limited Retry.
        let len = [512, 8192, 1 << 16][nth as usize % 3];
        let prps = pages(&mut driver, data, len);
        driver.bench.store(data, &vec![0; len as usize]);
        driver.io(&mut pair, blocks(READ, prps, 0, (len / 512) as u32, 1 << 31)).ok();
        assert_eq!(driver.bench.load(data, len as usize), bytes[..len as usize]);
        driver.bench.forget_allocations_after(data + 0xf000);
    }
    assert_eq!(driver.status(), READY, "it is still on");
    is_taken_over(driver, 0, &bytes);
}

/// Queues of two entries for all but one pair, 32 bits of a register at a time, one command after the other; a shutdown
/// before the system starts.
#[test]
fn edk2_has_one_command_at_a_time_in_queues_of_two_entries() {
    let mut driver = Driver::with_admin(Bench::new(2), [2, 2]);
    driver.bench.set_bus_master(true);
    let [low, high] = [0, 4].map(|half| u64::from(driver.bench.read(reg::CAP + half)));
    let capabilities = low | high << 32;
    assert_eq!(capabilities >> 37 & 0xff, 1, "older ones want this command set and no other");
    assert_eq!(capabilities >> 48 & 0xf, 0, "MPSMIN");
    // All but the one bit as it is.
    let configuration = driver.bench.read(reg::CC);
    driver.bench.write(reg::CC, configuration & !1);
    is_ready(&mut driver, false);
    driver.set_admin_queues();
    driver.bench.write(reg::CC, ENABLE);
    is_ready(&mut driver, true);
    driver.identified(1, 0);
    // No word about how many; one pair for calls that wait, one for those that do not.
    let mut pair = polled(&mut driver, 1, 2);
    let mut other = polled(&mut driver, 2, 64);
    has_blocks(&driver.identified(0, 1));

    let len = 24 * 0x1000;
    let data = driver.bench.allocate(len);
    let prps = pages(&mut driver, data, len);
    let bytes = pattern(len as usize, 2);
    for pair in [&mut pair, &mut other] {
        for _ in 0..5 {
            driver.bench.store(data, &bytes);
            driver.io(pair, blocks(WRITE, prps, 64, (len / 512) as u32, 0)).ok();
            driver.io(pair, command(FLUSH, 1, [0; 2])).ok();
            driver.bench.store(data, &vec![0; len as usize]);
            driver.io(pair, blocks(READ, prps, 64, (len / 512) as u32, 0)).ok();
            assert_eq!(driver.bench.load(data, len as usize), bytes);
        }
    }
    let asked = driver.bench.disk.take_asked();
    assert_eq!(asked.iter().filter(|asked| asked.operation == Operation::Flush).count(), 10);
    let configuration = driver.bench.read(reg::CC);
    driver.bench.write(reg::CC, configuration & !(3 << 14) | 1 << 14);
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUT_DOWN);
    is_taken_over(driver, 64, &bytes);
}

/// What FreeBSD's driver does before it changes `CC.EN`: it waits until `RDY` is what the bit was.
fn freebsd_disables(driver: &mut Driver) {
    let configuration = driver.bench.read(reg::CC);
    is_ready(driver, configuration & 1 != 0);
    if configuration & 1 != 0 {
        driver.bench.write(reg::CC, configuration & !1);
        is_ready(driver, false);
    }
}

fn freebsd_enables(driver: &mut Driver) {
    freebsd_disables(driver);
    // Addresses first, sizes last.
    let Pair { size, cq_size, commands, answers, .. } = driver.admin;
    driver.set_admin_queues();
    driver.bench.write(reg::AQA, 0);
    for (register, address) in [(reg::ASQ, commands), (reg::ACQ, answers)] {
        driver.bench.poke(register, Width::B8, address);
    }
    driver.bench.write(reg::AQA, u32::from(cq_size - 1) << 16 | u32::from(size - 1));
    driver.bench.write(reg::CC, ENABLE);
    is_ready(driver, true);
}

/// What it asks for once queues are known; returns its I/O queues.
fn freebsd_starts(driver: &mut Driver, queues: u16) -> Vec<Pair> {
    let page = driver.identified(1, 0);
    let version = u32::from_le_bytes(page[80..84].try_into().unwrap());
    let pairs: Vec<_> = (1..=queues).map(|id| driver.create_pair(id, 256)).collect();
    has_blocks(&driver.identified(0, 1));
    // A threshold of 0 or of all ones would be none.
    let threshold = driver.get(4, 0);
    let mut events = 0b1_1101;
    if threshold.status == 0 && ![0, 0xffff].contains(&(threshold.result & 0xffff)) {
        events |= 0b10;
    }
    if version >= 0x0001_0200 {
        events |= 0x300;
    }
    driver.set(0x0b, events).ok();
    for _ in 0..page[259].min(7) + 1 {
        driver.request_event();
    }
    driver.set(8, 0).ok();
    pairs
}

/// Two resets in a row before anything else, an interrupt for each queue, as many requests for events as there may be;
/// and it gives up if a reset changes how many queues there are.
#[test]
fn freebsd_resets_twice_and_finds_as_many_queues_after_each_reset() {
    let mut driver = Driver::with_admin(Bench::new(3), [128, 128]);
    driver.bench.enable();
    // Its number of CPUs.
    let wanted = 0x0007_0007;
    for _ in 0..2 {
        freebsd_enables(&mut driver);
    }
    let granted = driver.set(7, wanted).ok().result;
    let queues = ((granted & 0xffff).min(granted >> 16) + 1) as u16;
    assert_eq!(queues, 3);
    let data = driver.bench.allocate(0x1_0000);
    let prps = pages(&mut driver, data, 0x1_0000);
    for round in 0..4u8 {
        if round > 0 {
            freebsd_enables(&mut driver);
            assert_eq!(driver.set(7, granted).ok().result, granted);
        }
        let mut pairs = freebsd_starts(&mut driver, queues);
        let bytes = pattern(0x1_0000, round);
        for pair in &mut pairs {
            let before = driver.bench.interrupts(pair.cq);
            driver.bench.store(data, &bytes);
            driver.io(pair, blocks(WRITE, prps, 128, 128, 0)).ok();
            driver.io(pair, blocks(READ, prps, 128, 128, 0)).ok();
            assert_eq!(driver.bench.load(data, 0x1_0000), bytes);
            assert_eq!(driver.bench.interrupts(pair.cq) - before, 2);
        }
    }
    for id in (1..=queues).rev() {
        driver.delete_sq(id);
        driver.bench.settle();
        driver.take_answer().unwrap().ok();
        driver.delete_cq(id).ok();
    }
    let configuration = driver.bench.read(reg::CC);
    driver.bench.write(reg::CC, configuration | 1 << 14);
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUT_DOWN);
    is_taken_over(driver, 128, &pattern(512, 3));
}

/// SPDK's end of doorbells in memory: it also writes the register if the controller waits for this very index.
fn spdk_rings(driver: &mut Driver, [indices, events]: [u64; 2], slot: u64, new: u16, bell: u64) {
    let [old] = driver.bench.load_words::<1>(indices + slot);
    driver.bench.store_words(indices + slot, &[new.into()]);
    let [event] = driver.bench.load_words::<1>(events + slot);
    if new.wrapping_sub(event as u16) <= new.wrapping_sub(old as u16) {
        driver.bench.write(bell, new.into());
    }
}

/// From user space, without interrupts: addresses written whole, the number of queues asked for again, doorbells in memory,
/// queues that come and go, and a feature that there may be or not.
#[test]
fn spdk_polls_queues_that_come_and_go_by_doorbells_in_memory() {
    let mut driver = Driver::with_admin(Bench::new(4), [32, 32]);
    driver.bench.set_bus_master(true);
    assert_eq!(driver.bench.read(reg::VS), 0x0001_0400);
    let capabilities = driver.bench.peek(reg::CAP, Width::B8);
    assert_eq!(capabilities >> 32 & 0xf, 0, "DSTRD");
    assert_eq!(driver.bench.read(reg::CC) & 1, 0);
    is_ready(&mut driver, false);
    driver.set_admin_queues();
    for (register, address) in [(reg::ASQ, driver.admin.commands), (reg::ACQ, driver.admin.answers)]
    {
        driver.bench.poke(register, Width::B8, address);
    }
    driver.bench.write(reg::CC, ENABLE);
    is_ready(&mut driver, true);
    let page = driver.identified(1, 0);
    let [attributes, events] = [256, 92].map(|at| u16::from_le_bytes([page[at], page[at + 1]]));
    assert_eq!(page[320..322], [0, 0], "KAS: it would have to be kept alive");
    driver.set(0x0b, 0x1f | u32::from(events)).ok();
    for _ in 0..page[259].min(7) + 1 {
        driver.request_event();
    }
    driver.set(7, 0x03ff_03ff).ok();
    assert_eq!(driver.get(7, 0).ok().result, 0x0003_0003);
    assert_eq!(driver.identified(2, 0)[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    has_blocks(&driver.identified(0, 1));
    let named = driver.identified(3, 1);
    assert_eq!((named[0], named[1], named[20], named[21]), (3, 16, 0, 0), "a UUID, and no more");
    assert_ne!(attributes & 1 << 8, 0);
    let shadows = driver.shadow_doorbells();
    // Who it is: it goes on without that.
    let host = driver.page;
    let mut words = command(0x09, 0, [host, 0]);
    words[10] = 0x81;
    driver.command(words).refused(0x002);

    let data = driver.bench.allocate(0x2_0000);
    let prps = pages(&mut driver, data, 0x2_0000);
    let bytes = pattern(0x2_0000, 4);
    for round in 0..3 {
        let ids = [4, 1, 3, 2].into_iter().skip(round);
        let mut pairs: Vec<_> = ids.map(|id| polled(&mut driver, id, 16)).collect();
        for turn in 0..40u64 {
            for pair in &mut pairs {
                driver.bench.store(data, &bytes);
                for (opcode, first) in [(WRITE, turn), (READ, turn)] {
                    driver.enqueue(pair, blocks(opcode, prps, first, 256, 0));
                    let (slot, bell) = (u64::from(pair.sq) * 8, sq_doorbell(pair.sq));
                    spdk_rings(&mut driver, shadows, slot, pair.tail, bell);
                    driver.bench.settle();
                    driver.look(pair).expect("it was told").ok();
                    spdk_rings(&mut driver, shadows, slot + 4, pair.head, cq_doorbell(pair.cq));
                }
                assert_eq!(driver.bench.load(data, 0x2_0000), bytes);
            }
        }
        for pair in pairs {
            driver.delete_sq(pair.sq);
            driver.bench.settle();
            driver.take_answer().unwrap().ok();
            driver.delete_cq(pair.cq).ok();
        }
    }
    let configuration = driver.bench.read(reg::CC);
    driver.bench.write(reg::CC, configuration | 1 << 14);
    driver.bench.settle();
    assert_eq!(driver.status(), READY | SHUT_DOWN);
    is_taken_over(driver, 39, &bytes);
}

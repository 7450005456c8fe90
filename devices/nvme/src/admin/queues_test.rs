//! Queues made and ended (N32, N46 to N52, N57 to N59), and doorbells in memory (N78 to N85).

use proptest::prelude::*;

use crate::testing::bench::{BAR0, MEMORY};
use crate::testing::driver::{
    Answer, Driver, Pair, blocks, command, cq_doorbell, reg, sq_doorbell,
};

const READ: u8 = 2;

#[test]
fn n32_firmware_makes_queues_without_asking_for_a_number() {
    let mut driver = Driver::ready(2);
    for id in [1, 2] {
        let mut pair = driver.create_pair(id, 2 + id * 31);
        let page = driver.page;
        driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    }
}

#[test]
fn n46_completion_queues_that_cannot_be_are_refused() {
    let mut driver = Driver::ready(2);
    let at = driver.bench.allocate(0x1_0000);
    for id in [0, 3, 0xffff] {
        driver.create_cq(id, 16, None, at).refused(0x101);
    }
    for size in [0, 1, 1025, 2000] {
        driver.create_cq(1, size, None, at).refused(0x102);
    }
    driver.create_cq(1, 16, Some(3), at).refused(0x108);
    driver.create_cq(1, 16, None, at + 8).refused(0x013);
    driver.create_cq(1, 16, None, MEMORY).refused(0x004);
    driver.create_cq(1, 1024, None, MEMORY - 0x1000).refused(0x004);
    let mut words = command(0x05, 0, [at, 0]);
    words[10] = 1 | 15 << 16;
    driver.command(words).refused(0x002);
    // A vector counts only where there are interrupts.
    words[11] = 1 | 0xffff << 16;
    driver.command(words).ok();
    driver.create_cq(1, 16, None, at).refused(0x101);
}

#[test]
fn n47_submission_queues_that_cannot_be_are_refused() {
    let mut driver = Driver::ready(2);
    let at = driver.bench.allocate(0x2_0000);
    driver.create_sq(1, 16, 1, at).refused(0x100);
    driver.create_cq(1, 16, None, at + 0x1_0000).ok();
    for cq in [0, 3, 0xffff] {
        driver.create_sq(1, 16, cq, at).refused(0x101);
    }
    driver.create_sq(1, 16, 2, at).refused(0x100);
    for id in [0, 3, 0xffff] {
        driver.create_sq(id, 16, 1, at).refused(0x101);
    }
    for size in [0, 1, 1025] {
        driver.create_sq(1, size, 1, at).refused(0x102);
    }
    driver.create_sq(1, 16, 1, at + 64).refused(0x013);
    driver.create_sq(1, 1024, 1, MEMORY - 0x1000).refused(0x004);
    let mut words = command(0x01, 0, [at, 0]);
    (words[10], words[11]) = (1 | 15 << 16, 1 << 16);
    driver.command(words).refused(0x002);
    driver.create_sq(1, 16, 1, at).ok();
    driver.create_sq(1, 16, 1, at).refused(0x101);
}

#[test]
fn n48_and_n49_queues_of_every_size_work_over_the_wrap() {
    for size in [2, 3, 64, 1024] {
        let mut driver = Driver::ready(1);
        let mut pair = driver.create_pair(1, size);
        let page = driver.page;
        for n in 0..3 * size + 1 {
            let answer = driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
            assert_eq!(answer.head, (n + 1) % size);
        }
    }
}

#[test]
fn n50_a_completion_queue_outlives_those_that_post_to_it() {
    let mut driver = Driver::ready(2);
    driver.create_pair(1, 8);
    driver.delete_cq(1).refused(0x10c);
    driver.delete_sq(1);
    driver.take_answer().unwrap().ok();
    driver.delete_sq(1);
    driver.take_answer().unwrap().refused(0x101);
    driver.delete_cq(1).ok();
    driver.delete_cq(1).refused(0x101);
    for id in [0, 9] {
        driver.delete_cq(id).refused(0x101);
        driver.delete_sq(id);
        driver.take_answer().unwrap().refused(0x101);
    }
}

#[test]
fn n51_a_queue_is_gone_when_its_last_request_has_ended() {
    let mut driver = Driver::ready(1);
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.bench.disk.hold(true);
    for n in 0..3 {
        driver.enqueue(&mut pair, blocks(READ, [page, 0], n, 1, 0));
    }
    driver.ring(&pair);
    driver.bench.settle();
    let id = driver.delete_sq(1);
    driver.bench.settle();
    assert_eq!(driver.take_answer(), None);
    driver.delete_sq(1);
    driver.take_answer().unwrap().refused(0x101);
    driver.create_sq(1, 8, 1, pair.commands).refused(0x101);
    driver.get(7, 0).ok();
    driver.bench.disk.hold(false);
    driver.bench.disk.release();
    driver.bench.settle();
    for _ in 0..3 {
        driver.take(&mut pair).unwrap().ok();
    }
    assert_eq!(driver.take_answer().unwrap().ok().id, id);
    // The next of this number begins anew, whatever was rung for this one.
    driver.create_sq(1, 8, 1, pair.commands).ok();
    driver.bench.settle();
    assert_eq!(driver.take(&mut pair), None);
    pair.tail = 0;
    assert_eq!(driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok().head, 1);
}

#[test]
fn n52_queues_share_a_completion_queue() {
    let mut driver = Driver::ready(3);
    let mut shared = driver.create_pair(1, 32);
    let mut others = [driver.create_on(2, 8, &shared), driver.create_on(3, 16, &shared)];
    let page = driver.page;
    let mut expected = Vec::new();
    for n in 0..6u16 {
        let mut pairs = [shared, others[0], others[1]];
        for pair in &mut pairs {
            let id = driver.enqueue(pair, blocks(READ, [page, 0], n.into(), 1, 0));
            driver.ring(pair);
            driver.bench.settle();
            expected.push((pair.sq, id, n + 1));
        }
        (shared.tail, others) = (pairs[0].tail, [pairs[1], pairs[2]]);
    }
    let found: Vec<_> = std::iter::from_fn(|| driver.take(&mut shared))
        .map(|Answer { queue, id, head, .. }| (queue, id, head))
        .collect();
    assert_eq!(found, expected);
    driver.delete_sq(1);
    driver.take_answer().unwrap().ok();
    driver.delete_cq(1).refused(0x10c);
}

#[test]
fn n53_a_full_completion_queue_stops_its_queues_until_there_is_room() {
    let mut driver = Driver::ready(2);
    let answers = driver.bench.allocate(0x1000);
    driver.create_cq(1, 4, Some(1), answers).ok();
    let four = Pair {
        sq: 0,
        cq: 1,
        size: 0,
        cq_size: 4,
        commands: 0,
        answers,
        tail: 0,
        head: 0,
        phase: true,
    };
    let mut first = driver.create_on(1, 16, &four);
    let mut second = driver.create_on(2, 16, &four);
    let page = driver.page;
    let mut expected = Vec::new();
    for n in 0..10 {
        // Every other one is refused.
        let opcode = if n % 2 == 0 { READ } else { 0xee };
        for pair in [&mut first, &mut second] {
            expected.push(driver.enqueue(pair, blocks(opcode, [page, 0], 0, 1, 0)));
        }
    }
    driver.ring(&first);
    driver.ring(&second);
    let (mut taker, mut found) = (first, Vec::new());
    while found.len() < expected.len() {
        driver.bench.settle();
        let before = found.len();
        while let Some(answer) = driver.look(&mut taker) {
            found.push(answer.id);
        }
        assert!((1..=3).contains(&(found.len() - before)), "{found:?}");
        driver.acknowledge(&taker);
    }
    driver.bench.settle();
    assert_eq!(driver.look(&mut taker), None);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn n57_to_n59_vectors_are_masked_shared_or_none() {
    let mut driver = Driver::ready(3);
    let page = driver.page;
    let mut pair = driver.create_pair(1, 8);
    driver.bench.mask_vector(1, true);
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    assert_eq!((driver.bench.interrupts(1), driver.bench.pending() & 2), (0, 2));
    driver.bench.mask_vector(1, false);
    assert_eq!((driver.bench.interrupts(1), driver.bench.pending() & 2), (1, 0));

    for (id, vector) in [(2, None), (3, Some(1))] {
        let answers = driver.bench.allocate(0x1000);
        driver.create_cq(id, 8, vector, answers).ok();
        let mut other = driver.create_on(id, 8, &Pair { cq: id, answers, head: 0, ..pair });
        let before: Vec<u64> = (0..4).map(|vector| driver.bench.interrupts(vector)).collect();
        driver.io(&mut other, blocks(READ, [page, 0], 0, 1, 0)).ok();
        let after: Vec<u64> = (0..4).map(|vector| driver.bench.interrupts(vector)).collect();
        let expected = u64::from(vector.is_some());
        assert_eq!(after[1], before[1] + expected);
        assert_eq!((after[2], after[3]), (before[2], before[3]));
    }
}

#[test]
fn n78_pages_of_doorbells_are_judged() {
    let mut driver = Driver::ready(1);
    let [one, other] = [driver.bench.allocate(0x1000), driver.bench.allocate(0x1000)];
    driver.command(command(0x7c, 0, [one + 8, other])).refused(0x002);
    driver.command(command(0x7c, 0, [one, other + 8])).refused(0x002);
    driver.command(command(0x7c, 0, [one, MEMORY])).refused(0x004);
    driver.command(command(0x7c, 0, [0xe000_0000, other])).refused(0x004);
    driver.command(command(0x7c, 0, [one, other])).ok();
    driver.command(command(0x7c, 0, [other, one])).refused(0x00c);
}

/// The host's side of doorbells in memory.
struct Host {
    indices: u64,
    events: u64,
}

impl Host {
    /// Stores an index; writes the register if it is to be written, by the rule of Linux's driver. Whether it was.
    fn store(&self, driver: &mut Driver, slot: u64, register: u64, new: u16) -> bool {
        let [old] = driver.bench.load_words::<1>(self.indices + slot);
        driver.bench.store_words(self.indices + slot, &[new.into()]);
        let [event] = driver.bench.load_words::<1>(self.events + slot);
        let old = old as u16;
        let wanted = new.wrapping_sub(event as u16).wrapping_sub(1) < new.wrapping_sub(old);
        if wanted {
            driver.bench.write(register, new.into());
        }
        wanted
    }

    fn tail(&self, driver: &mut Driver, pair: &Pair) -> bool {
        self.store(driver, u64::from(pair.sq) * 8, sq_doorbell(pair.sq), pair.tail)
    }

    fn head(&self, driver: &mut Driver, pair: &Pair) -> bool {
        self.store(driver, u64::from(pair.cq) * 8 + 4, cq_doorbell(pair.cq), pair.head)
    }
}

fn shadowed(size: u16) -> (Driver, Pair, Host) {
    let mut driver = Driver::ready(2);
    let pair = driver.create_pair(1, size);
    let [indices, events] = driver.shadow_doorbells();
    (driver, pair, Host { indices, events })
}

#[test]
fn n79_and_n80_a_sleeping_queue_is_woken_and_a_working_one_needs_no_writes() {
    let (mut driver, mut pair, host) = shadowed(64);
    let page = driver.page;
    driver.bench.settle();
    for _ in 0..200 {
        driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
        assert!(host.tail(&mut driver, &pair), "it sleeps");
        // Those come while it has not looked yet.
        for _ in 0..5 {
            driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
            assert!(!host.tail(&mut driver, &pair), "it is awake");
        }
        driver.bench.settle();
        for _ in 0..6 {
            driver.look(&mut pair).unwrap().ok();
            host.head(&mut driver, &pair);
        }
        assert_eq!(driver.look(&mut pair), None);
    }
}

#[test]
fn n81_a_queue_that_stopped_for_want_of_room_goes_on() {
    let (mut driver, first, host) = shadowed(16);
    let answers = driver.bench.allocate(0x1000);
    driver.create_cq(2, 4, Some(2), answers).ok();
    let mut pair = driver.create_on(2, 16, &Pair { cq: 2, cq_size: 4, answers, ..first });
    let page = driver.page;
    driver.bench.settle();
    for _ in 0..9 {
        driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    }
    host.tail(&mut driver, &pair);
    let mut found = 0;
    for _ in 0..9 {
        driver.bench.settle();
        if driver.look(&mut pair).is_none() {
            break;
        }
        found += 1;
        host.head(&mut driver, &pair);
    }
    assert_eq!(found, 9);
}

#[test]
fn heads_are_written_to_memory_alone_where_nobody_waits_for_room() {
    let (mut driver, mut pair, host) = shadowed(2);
    let page = driver.page;
    driver.bench.settle();
    let mut written = 0;
    for _ in 0..20 {
        driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
        host.tail(&mut driver, &pair);
        driver.bench.settle();
        driver.look(&mut pair).unwrap().ok();
        written += u32::from(host.head(&mut driver, &pair));
    }
    assert_eq!(written, 1, "only before the controller has looked");
}

#[test]
fn n82_the_admin_queue_keeps_its_registers() {
    let (mut driver, _, _) = shadowed(8);
    for _ in 0..100 {
        driver.get(7, 0).ok();
    }
}

#[test]
fn a_kick_is_the_kernel_s_once_its_value_is_in_memory() {
    let mut driver = Driver::ready(2);
    driver.create_pair(1, 8);
    assert!(driver.bench.machine.kicks.bound().is_empty());
    driver.shadow_doorbells();
    assert_eq!(driver.bench.machine.kicks.bound(), [BAR0 + sq_doorbell(1)]);
    driver.create_pair(2, 8);
    let moved = BAR0 + 0x10_0000 + 0x10_0000;
    driver.bench.function.assign(0, moved);
    let expected = [1, 2].map(|id| moved + sq_doorbell(id));
    assert_eq!(driver.bench.machine.kicks.bound(), expected);
    driver.bench.function.assign(0, BAR0);
    driver.delete_sq(1);
    driver.take_answer().unwrap().ok();
    assert_eq!(driver.bench.machine.kicks.bound(), [BAR0 + sq_doorbell(2)]);
    driver.bench.write(reg::CC, 0);
    assert!(driver.bench.machine.kicks.bound().is_empty());
}

#[test]
fn n83_and_n85_pages_are_forgotten_with_a_reset_and_slots_with_their_queue() {
    let (mut driver, mut pair, host) = shadowed(8);
    let page = driver.page;
    driver.bench.store_words(host.indices + 16, &[5, 6]);
    driver.bench.store_words(host.events + 16, &[5, 6]);
    driver.create_pair(2, 8);
    assert_eq!(driver.bench.load_words(host.indices + 16), [0, 0]);
    assert_eq!(driver.bench.load_words(host.events + 16), [0, 0]);
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    host.tail(&mut driver, &pair);
    driver.bench.settle();

    driver.delete_sq(2);
    driver.take_answer().unwrap().ok();
    driver.delete_cq(2).ok();
    let poison = |driver: &mut Driver, from: u64| {
        driver.bench.store(host.indices + from, &vec![0x5a; 4096 - from as usize]);
        driver.bench.store(host.events + from, &vec![0x5a; 4096 - from as usize]);
    };
    poison(&mut driver, 16);
    let mut again = driver.create_pair(1 + 1, 8);
    driver.delete_sq(2);
    driver.take_answer().unwrap().ok();
    poison(&mut driver, 16);
    driver.bench.write(sq_doorbell(2), 1);
    driver.bench.settle();
    assert_eq!(driver.look(&mut again), None);

    driver.bench.write(reg::CC, 0);
    poison(&mut driver, 0);
    driver.enable();
    let mut pair = driver.create_pair(1, 8);
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    for at in [host.indices, host.events] {
        assert_eq!(driver.bench.load(at, 4096), [0x5a; 4096]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn n84_whatever_is_in_the_pages_the_controller_goes_on(
        overlap in 0..4usize,
        steps in prop::collection::vec((0u64..6, any::<u32>()), 0..60),
    ) {
        let mut driver = Driver::ready(2);
        let mut pair = driver.create_pair(1, 8);
        driver.create_pair(2, 8);
        let other = driver.bench.allocate(0x1000);
        let pages = [
            [other, other],
            [pair.commands, other],
            [other, pair.answers],
            [pair.commands, pair.answers],
        ][overlap];
        driver.command(command(0x7c, 0, pages)).ok();
        let page = driver.page;
        for (slot, value) in steps {
            driver.bench.store_words(pages[0] + slot * 4, &[value % 12]);
            driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
            driver.bench.write(sq_doorbell(1), value);
            driver.bench.write(cq_doorbell(1), value >> 8);
            driver.bench.settle();
        }
        driver.enable();
        let mut pair = driver.create_pair(1, 8);
        driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
    }
}

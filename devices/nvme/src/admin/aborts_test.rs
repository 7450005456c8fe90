//! Aborts (N44): of what is still here, and of what is not.

use std::sync::Arc;

use block::control::DiskControl;
use block::engine::script::Stage;
use block::image::Image;
use block::port::DiskPort;
use device_core::worker::Threads;

use crate::Nvme;
use crate::lanes::Ring;
use crate::testing::bench::{Bench, DISK, spec};
use crate::testing::driver::{Driver, MORE, Pair, blocks, reg};

const READ: u8 = 2;
const FLUSH: u8 = 0;
const ABORTED: u16 = 0x007;

/// A driver that has told of so many reads, of which its disk takes none; with their ids.
fn with_reads_on_offer(count: u64) -> (Driver, Pair, Vec<u16>) {
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 16);
    driver.bench.disk.throttle(true);
    let page = driver.page;
    let read = |n| blocks(READ, [page, 0], n, 1, 0);
    let ids = (0..count).map(|n| driver.enqueue(&mut pair, read(n))).collect();
    driver.ring(&pair);
    driver.bench.settle();
    (driver, pair, ids)
}

/// What an abort is answered with, once it is.
#[track_caller]
fn abort(driver: &mut Driver, queue: u16, id: u16) -> u32 {
    let own = driver.submit_abort(queue, id);
    driver.bench.settle();
    let answer = driver.take_answer().expect("an answer").ok();
    assert_eq!(answer.id, own);
    answer.result
}

#[test]
fn n44_a_throttled_command_is_aborted_before_its_abort_is_answered() {
    let (mut driver, mut pair, ids) = with_reads_on_offer(5);
    for id in [ids[3], ids[0]] {
        let own = driver.submit_abort(1, id);
        let aborted = driver.look(&mut pair).expect("the completion comes first");
        assert_eq!((aborted.id, aborted.status, aborted.queue), (id, ABORTED, 1));
        driver.bench.settle();
        let answer = driver.take_answer().unwrap().ok();
        assert_eq!((answer.id, answer.result), (own, 0));
        assert_eq!(abort(&mut driver, 1, id), 1, "it is over");
    }
    driver.acknowledge(&pair);
    driver.bench.disk.throttle(false);
    driver.bench.settle();
    let rest: Vec<_> = std::iter::from_fn(|| driver.take(&mut pair)).collect();
    assert_eq!(rest.iter().map(|one| one.ok().id).collect::<Vec<_>>(), [ids[1], ids[2], ids[4]]);
    assert_eq!(rest.last().unwrap().head, 5, "what was aborted is passed over");
    let asked = driver.bench.disk.take_asked();
    assert_eq!(asked.iter().map(|asked| asked.offset / 512).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn a_number_may_be_used_again_once_its_command_was_aborted() {
    let (mut driver, mut pair, ids) = with_reads_on_offer(2);
    assert_eq!(abort(&mut driver, 1, ids[1]), 0);
    assert_eq!(driver.take(&mut pair).unwrap().status, ABORTED);
    let page = driver.page;
    let at = pair.commands + u64::from(pair.tail) * 64;
    driver.enqueue(&mut pair, blocks(READ, [page, 0], 9, 1, 0));
    driver.bench.store(at + 2, &ids[1].to_le_bytes());
    driver.ring(&pair);
    driver.bench.disk.throttle(false);
    driver.bench.settle();
    let rest = std::iter::from_fn(|| driver.take(&mut pair)).map(|one| one.ok().id);
    assert_eq!(rest.collect::<Vec<_>>(), ids);
}

#[test]
fn n44_what_the_disk_has_and_what_there_is_not_is_not_aborted() {
    let mut driver = Driver::ready(2);
    let mut pair = driver.create_pair(1, 16);
    driver.bench.disk.hold(true);
    let page = driver.page;
    let id = driver.enqueue(&mut pair, blocks(READ, [page, 0], 0, 1, 0));
    driver.ring(&pair);
    driver.bench.settle();
    assert_eq!(abort(&mut driver, 1, id), 1);
    assert_eq!(abort(&mut driver, 1, id + 1), 1);
    assert_eq!(abort(&mut driver, 0, 0x7777), 1);
    for queue in [2, 3, 0xffff] {
        driver.submit_abort(queue, id);
        driver.take_answer().unwrap().refused(0x002);
    }
    driver.bench.disk.release();
    driver.take(&mut pair).unwrap().ok();
}

#[test]
fn a_request_for_events_is_aborted() {
    let mut driver = Driver::ready(1);
    let ids: Vec<_> = (0..3).map(|_| driver.request_event()).collect();
    let own = driver.submit_abort(0, ids[1]);
    assert_eq!((driver.take_answer().unwrap().status, ids[1]), (ABORTED, ids[1]));
    let answer = driver.take_answer().unwrap().ok();
    assert_eq!((answer.id, answer.result), (own, 0));
    driver.set(0x0b, 0x100).ok();
    for (times, id) in [(2, ids[0]), (3, ids[2])] {
        driver.bench.disk.resize(DISK * times);
        driver.bench.card.refresh().unwrap();
        assert_eq!(driver.take_answer().unwrap().ok().id, id);
        driver.logged(0x04, 4096);
    }
}

/// A real lane, on which requests wait for each other, driven by a scripted host.
fn on_a_stage() -> (Driver, Pair, Stage, Arc<DiskPort<Ring>>) {
    let mut built = None;
    let bench = Bench::around(Threads::by_hand().unwrap(), 2, |machine| {
        let image = Image::in_memory(DISK, false, None);
        let (port, stage) = DiskPort::scripted(&spec(), image, 2, &machine.kit());
        let port = Arc::new(port);
        built = Some((stage, port.clone()));
        Nvme::on_lanes(&spec(), Box::new(port.clone()), port, &machine.kit()).unwrap()
    });
    let mut driver = Driver::on(bench).enabled();
    let pair = driver.create_pair(1, 16);
    let (stage, port) = built.unwrap();
    (driver, pair, stage, port)
}

#[test]
fn n44_what_waits_for_another_request_of_its_lane_is_aborted() {
    let (mut driver, mut pair, stage, port) = on_a_stage();
    stage.hold();
    let flush = || blocks(FLUSH, [0; 2], 0, 1, 0);
    let ids: Vec<_> = (0..3).map(|_| driver.enqueue(&mut pair, flush())).collect();
    driver.ring(&pair);
    port.settle();
    assert_eq!(stage.held(), 1);
    for (id, result) in [(ids[2], 0), (ids[0], 1)] {
        let own = driver.submit_abort(1, id);
        assert_eq!(driver.take_answer(), None, "its lane has not heard of it");
        port.settle();
        driver.bench.settle();
        let answer = driver.take_answer().unwrap().ok();
        assert_eq!((answer.id, answer.result), (own, result));
    }
    assert_eq!(driver.take(&mut pair).map(|one| (one.id, one.status)), Some((ids[2], ABORTED)));
    stage.release_all();
    (0..2).for_each(|_| port.settle());
    assert_eq!(driver.take(&mut pair).unwrap().ok().id, ids[0]);
    assert_eq!(driver.take(&mut pair).unwrap().ok().id, ids[1]);
}

#[test]
fn an_abort_that_a_reset_overtakes_is_never_answered() {
    let (mut driver, _, ids) = with_reads_on_offer(2);
    driver.submit_abort(1, ids[0]);
    driver.bench.write(reg::CC, 0);
    let answers = driver.bench.load(driver.admin.answers, 512);
    driver.bench.settle();
    assert_eq!(driver.bench.load(driver.admin.answers, 512), answers);
    driver.bench.disk.throttle(false);
    driver.enable();
    driver.get(7, 0).ok();
    let mut pair = driver.create_pair(1, 16);
    let page = driver.page;
    driver.io(&mut pair, blocks(READ, [page, 0], 0, 1, 0)).ok();
}

#[test]
fn so_many_aborts_may_wait_and_no_more() {
    let (mut driver, mut pair, _) = with_reads_on_offer(1);
    driver.bench.disk.keep_words(true);
    let own: Vec<_> = (0..5).map(|n| driver.submit_abort(1, n)).collect();
    assert_eq!(driver.take_answer(), None);
    driver.submit_abort(1, 9);
    driver.take_answer().unwrap().refused(0x103);
    driver.bench.disk.keep_words(false);
    driver.bench.settle();
    for id in own {
        let answer = driver.take_answer().unwrap().ok();
        assert_eq!((answer.id, answer.result), (id, 1));
    }
    assert_eq!(abort(&mut driver, 1, 0x100), 1);
    assert_eq!(driver.look(&mut pair), None);
}

#[test]
fn what_was_aborted_is_no_error() {
    let (mut driver, mut pair, ids) = with_reads_on_offer(1);
    assert_eq!(abort(&mut driver, 1, ids[0]), 0);
    assert_eq!(driver.take(&mut pair).unwrap().status & MORE, 0);
    assert_eq!(driver.logged(0x01, 64), [0; 64]);
}

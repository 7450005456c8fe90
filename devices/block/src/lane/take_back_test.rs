//! Tests of requests that their guest wants back.

use std::sync::mpsc::channel;

use crate::port::PortControl;
use crate::request::Operation;
use crate::request::Outcome::{Aborted, Done};
use crate::spec::{Allowed, DiskSpec, Fault};
use crate::testing::Bench;
use device_core::rate::Quota;

const AT: u64 = 0x1_0000;

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

#[test]
fn what_is_with_the_host_is_not_taken_back() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.run();
    assert_eq!(bench.take_back(0), Some(false));
    assert_eq!(bench.take_back(7), Some(false), "there is no such request");
    bench.stage.release_all();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)]);
    assert_eq!(bench.take_back(0), Some(false), "it has ended");
}

#[test]
fn what_waits_in_the_ring_is_taken_back_at_once() {
    let limits = Allowed { iops: Quota::per_second(1), bw: None };
    let bench = Bench::new(&DiskSpec { limits, ..spec() });
    for _ in 0..3 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(bench.take_back(2), Some(true));
    assert_eq!(bench.guest.take(), [(2, Aborted)]);
    bench.port.limit(&Allowed::default());
    bench.port.settle();
    assert_eq!((bench.guest.take(), bench.count("aborted")), (vec![(1, Done)], 1));
}

#[test]
fn what_waits_for_another_request_is_taken_back() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..3 {
        bench.guest.flush();
    }
    for _ in 0..4 {
        bench.guest.ranges(Operation::Discard, &[(0, 4096)]);
    }
    bench.run();
    assert_eq!(bench.stage.held(), 3, "a flush and two discards");
    for name in [1, 5] {
        assert_eq!(bench.take_back(name), Some(true));
        assert_eq!(bench.guest.take(), [(name.into(), Aborted)]);
    }
    bench.stage.release(0);
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)]);
    bench.stage.release_all();
    (0..3).for_each(|_| bench.port.settle());
    let mut rest = bench.guest.take();
    rest.sort_by_key(|(token, _)| *token);
    assert_eq!(rest, [(2, Done), (3, Done), (4, Done), (6, Done)]);
    assert_eq!(bench.port.stats()[0].in_flight(), 0);
}

/// A flush that several wait for is not theirs to take back.
#[test]
fn who_shares_a_flush_is_taken_back_alone() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..4 {
        bench.guest.flush();
    }
    bench.run();
    bench.stage.release(0);
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)]);
    let found: Vec<_> = (1..4).map(|name| bench.take_back(name)).collect();
    assert_eq!(found.iter().filter(|found| **found == Some(true)).count(), 2);
    assert_eq!(bench.guest.take().len(), 2);
    bench.stage.release_all();
    bench.port.settle();
    let left = found.iter().position(|found| *found == Some(false)).unwrap() as u64 + 1;
    assert_eq!(bench.guest.take(), [(left, Done)], "the one with the host");
}

#[test]
fn what_waits_for_private_memory_is_taken_back() {
    let bench = Bench::direct(&spec(), 512, 512);
    bench.stage.hold();
    for nth in 0..20u64 {
        bench.guest.transfer(Operation::Write, nth * 512, AT + 1, 512);
    }
    bench.run();
    assert_eq!(bench.stage.held(), 16);
    assert_eq!((bench.take_back(3), bench.take_back(17)), (Some(false), Some(true)));
    bench.stage.release_all();
    (0..3).for_each(|_| bench.port.settle());
    let ended = bench.guest.take();
    assert_eq!((ended.len(), ended[0]), (20, (17, Aborted)));
}

#[test]
fn a_slow_request_is_taken_back_and_a_swallowed_one_is_not() {
    let bench = Bench::new(&DiskSpec { faults: vec![Fault::Slow], ..spec() });
    bench.guest.flush();
    assert_eq!(bench.outcomes(), []);
    assert_eq!(bench.take_back(0), Some(true));
    assert_eq!(bench.guest.take(), [(0, Aborted)]);
    bench.port.clear_faults();
    bench.port.inject(Fault::Swallow);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), []);
    assert_eq!(bench.take_back(1), Some(false), "it counts as being with the host");
    bench.port.clear_faults();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(1, Done)]);
}

#[test]
fn who_wants_a_request_back_is_told_when_its_end_is_seen() {
    let limits = Allowed { iops: Quota::per_second(1), bw: None };
    let bench = Bench::new(&DiskSpec { limits, ..spec() });
    for _ in 0..3 {
        bench.guest.flush();
    }
    assert_eq!(bench.outcomes(), [Done]);
    bench.guest.set_room(false);
    let (told, heard) = channel();
    bench.port.take_back_then(0, 2, move |found| told.send(found).unwrap());
    bench.run();
    assert!(heard.try_recv().is_err());
    bench.guest.set_room(true);
    // Any completion shows both.
    assert_eq!(bench.take_back(1), Some(true));
    assert_eq!(heard.try_recv(), Ok(true));
    assert_eq!(bench.guest.take(), [(2, Aborted), (1, Aborted)]);
}

#[test]
fn who_wants_a_request_back_is_told_even_if_the_ring_is_gone_or_broken() {
    let bench = Bench::new(&spec());
    bench.guest.break_ring();
    assert_eq!(bench.take_back(0), Some(false));
    assert!(bench.guest.told_broken().is_some());
    bench.port.unplug(0).unwrap();
    assert_eq!(bench.take_back(0), Some(false));
    let (told, heard) = channel();
    bench.port.take_back_then(9, 0, move |found| told.send(found).unwrap());
    assert_eq!(heard.try_recv(), Ok(false), "there is no such lane");
}

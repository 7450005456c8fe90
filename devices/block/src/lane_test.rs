//! Tests of a lane on a scripted engine: order, short transfers, errors, draining, faults.

use std::sync::mpsc::channel;

use super::*;
use crate::engine::script::{Answer, Asked};
use crate::image::Image;
use crate::request::Outcome::{Aborted, Differs, Done, Medium, NoSpace, OutOfRange, ReadOnly};
use crate::spec::{Allowed, DiskSpec, Fault};
use crate::task::Call;
use crate::testing::{Bench, Guest, SIZE, pattern};
use device_core::rate::Quota;

const AT: u64 = 0x1_0000;
const DURABLE: Call = Call::Write { durable: true };
const PLAIN: Call = Call::Write { durable: false };

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

fn calls(bench: &Bench) -> Vec<Call> {
    bench.stage.asked().into_iter().map(|asked| asked.call).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let bench = Bench::new(&spec());
    let bytes = pattern(8192, 7);
    bench.write(AT, &bytes);
    bench.guest.transfer(Operation::Write, 4096, AT, 8192);
    bench.guest.transfer(Operation::Read, 4096, AT + 0x10000, 8192);
    assert_eq!(bench.outcomes(), [Done, Done]);
    assert_eq!(bench.stage.read(4096, 8192), bytes);
    assert_eq!(bench.read(AT + 0x10000, 8192), bytes);
    assert_eq!((bench.count("writes"), bench.count("write_bytes")), (1, 8192));
    assert_eq!((bench.count("reads"), bench.count("read_bytes")), (1, 8192));
}

/// B16, B17, B27, B28.
#[test]
fn a_request_that_reaches_beyond_the_end_does_nothing_at_all() {
    let bench = Bench::new(&spec());
    for (offset, len) in [
        (SIZE - 512, 512),
        (SIZE - 512, 1024),
        (SIZE, 512),
        (1 << 63, 512),
        (u64::MAX - 511, 512),
        (u64::MAX - 511, 1024),
        (100, 512),
        (0, 100),
    ] {
        bench.guest.transfer(Operation::Write, offset, AT, len);
    }
    bench.guest.ranges(Operation::Discard, &[(0, 4096), (SIZE - 512, 1024)]);
    let zeroes = Operation::WriteZeroes { unmap: true };
    bench.guest.ranges(zeroes, &[(0, 0xffff_ffff * 512), (4096, 512)]);
    bench.guest.ranges(zeroes, &[(!511, 512)]);
    let outcomes = bench.outcomes();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == OutOfRange).count(), 10);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Done).count(), 1);
    let only = Asked { call: PLAIN, offset: SIZE - 512, len: 512, cached: false, below: 0 };
    assert_eq!(bench.stage.asked(), [only]);
}

/// B6.
#[test]
fn a_disk_that_is_never_written_refuses_all_that_writes_and_flushes() {
    let bench = Bench::new(&DiskSpec { read_only: true, ..spec() });
    bench.guest.transfer(Operation::Write, 0, AT, 512);
    bench.guest.ranges(Operation::Discard, &[(0, 512)]);
    bench.guest.ranges(Operation::WriteZeroes { unmap: false }, &[(0, 512)]);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.guest.flush();
    let mut outcomes = bench.outcomes();
    outcomes.sort_by_key(|outcome| *outcome != ReadOnly);
    assert_eq!(outcomes, [ReadOnly, ReadOnly, ReadOnly, Done, Done]);
    assert_eq!(calls(&bench), [Call::Read, Call::Sync]);
}

/// B63: short transfers go on where they stopped, and what may pass is tried again.
#[test]
fn what_the_host_does_not_end_is_gone_on_with() {
    for operation in [Operation::Read, Operation::Write] {
        let bench = Bench::new(&spec());
        let bytes = pattern(4096, 3);
        bench.stage.write(0, &bytes);
        bench.write(AT, &bytes);
        bench.stage.answer(&[
            Answer::Short(1000),
            Answer::Fail(libc::EINTR),
            Answer::Fail(libc::EAGAIN),
            Answer::Short(1),
        ]);
        // In two pieces, so that the rest begins within one.
        bench.guest.offer(move |request| {
            request.operation = operation;
            request.buffers.push(AT, 512).unwrap();
            request.buffers.push(AT + 512, 3584).unwrap();
        });
        bench.run();
        bench.port.settle();
        assert_eq!(bench.guest.take(), [(0, Done)]);
        let parts: Vec<_> =
            bench.stage.asked().iter().map(|asked| (asked.offset, asked.len)).collect();
        assert_eq!(parts, [(0, 4096), (1000, 3096), (1000, 3096), (1000, 3096), (1001, 3095)]);
        assert_eq!(bench.stage.read(0, 4096), bytes);
        assert_eq!(bench.read(AT, 4096), bytes);
        assert_eq!(bench.count("retries"), 4);
    }
}

/// B63: each errno by the table.
#[test]
fn what_the_host_fails_has_an_outcome_of_its_own() {
    for (errno, wanted) in [
        (libc::EIO, Medium),
        (libc::ENODATA, Medium),
        (libc::EREMOTEIO, Medium),
        (libc::EBADMSG, Medium),
        (libc::EFAULT, Medium),
        (libc::EINVAL, Medium),
        (libc::EOPNOTSUPP, Medium),
        (libc::ENOSPC, NoSpace),
        (libc::EDQUOT, NoSpace),
        (libc::EROFS, ReadOnly),
        (libc::EPERM, ReadOnly),
        (libc::EBADF, ReadOnly),
        (libc::ECANCELED, Aborted),
    ] {
        let bench = Bench::new(&spec());
        bench.stage.answer(&[Answer::Fail(errno)]);
        bench.guest.transfer(Operation::Write, 0, AT, 512);
        assert_eq!(bench.outcomes(), [wanted], "errno {errno}");
    }
}

#[test]
fn a_host_that_says_for_ever_to_try_again_is_believed_no_more() {
    let bench = Bench::new(&spec());
    bench.stage.answer(&[Answer::Fail(libc::EAGAIN); 1000]);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.run();
    (0..1000).for_each(|_| bench.port.settle());
    assert_eq!(bench.guest.take(), [(0, Medium)]);
    assert_eq!(bench.stage.asked().len(), 100);
}

#[test]
fn an_image_that_has_shrunk_fails_where_nothing_is_left() {
    let bench = Bench::new(&spec());
    bench.stage.set_len(4096 + 100);
    bench.guest.transfer(Operation::Read, 4096, AT, 512);
    bench.guest.transfer(Operation::Read, 8192, AT, 512);
    assert_eq!(bench.outcomes(), [Medium, Medium]);
}

/// B11, and the modes of section 1.7.
#[test]
fn writes_are_durable_where_the_guest_cannot_or_need_not_flush() {
    let durable = |request: &mut Request| {
        request.operation = Operation::Write;
        request.durable = true;
        request.buffers.push(AT, 512).unwrap();
    };
    for (cache, through, plain, forced) in [
        (Cache::Writeback, false, PLAIN, DURABLE),
        (Cache::Writeback, true, DURABLE, DURABLE),
        (Cache::Writethrough, false, DURABLE, DURABLE),
        (Cache::Unsafe, true, PLAIN, PLAIN),
    ] {
        let bench = Bench::new(&DiskSpec { cache, ..spec() });
        bench.guest.set_write_through(through);
        bench.guest.transfer(Operation::Write, 0, AT, 512);
        bench.guest.offer(durable);
        assert_eq!(bench.outcomes(), [Done, Done]);
        assert_eq!(calls(&bench), [plain, forced], "{cache:?}");
    }
}

#[test]
fn an_unsafe_disk_flushes_without_the_host() {
    let bench = Bench::new(&DiskSpec { cache: Cache::Unsafe, ..spec() });
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(bench.stage.asked(), []);
}

#[test]
fn durable_zeroes_are_flushed_before_they_complete() {
    let bench = Bench::new(&DiskSpec { cache: Cache::Writethrough, ..spec() });
    bench.guest.ranges(Operation::WriteZeroes { unmap: true }, &[(0, 4096), (8192, 4096)]);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(calls(&bench), [Call::Punch, Call::Punch, Call::Sync]);
}

/// B55.
#[test]
fn a_flush_waits_for_no_write_that_has_not_completed() {
    let bench = Bench::new(&spec());
    bench.guest.transfer(Operation::Write, 0, AT, 512);
    assert_eq!(bench.outcomes(), [Done]);
    bench.stage.hold();
    bench.guest.transfer(Operation::Write, 512, AT, 512);
    bench.guest.flush();
    bench.run();
    assert_eq!(calls(&bench), [PLAIN, PLAIN, Call::Sync]);
    bench.stage.release(1);
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(2, Done)]);
    bench.stage.release(0);
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(1, Done)]);
}

#[test]
fn flushes_that_come_during_one_share_the_next() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    bench.guest.flush();
    bench.run();
    for _ in 0..10 {
        bench.guest.flush();
    }
    bench.run();
    assert_eq!(bench.stage.held(), 1);
    bench.stage.release(0);
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)], "the others may not be in it");
    assert_eq!(bench.stage.held(), 1);
    bench.stage.release(0);
    bench.port.settle();
    assert_eq!(bench.guest.take().len(), 10);
    assert_eq!(bench.stage.asked().len(), 2);
    assert_eq!(bench.count("flushes"), 11);
}

/// B56.
#[test]
fn after_a_flush_that_failed_all_flushes_fail_until_the_image_is_replaced() {
    let bench = Bench::new(&spec());
    bench.stage.answer(&[Answer::Fail(libc::EIO)]);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Medium]);
    bench.guest.flush();
    bench.guest.offer(|request| {
        request.operation = Operation::Write;
        request.durable = true;
        request.buffers.push(AT, 512).unwrap();
    });
    bench.guest.transfer(Operation::Write, 0, AT, 512);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    assert_eq!(bench.outcomes(), [Medium, Medium, Done, Done]);
    assert_eq!(calls(&bench), [Call::Sync, PLAIN, Call::Read], "the host is not asked again");
}

/// As when its machine is paused.
#[test]
fn what_has_completed_is_made_durable_on_demand_as_far_as_the_cache_promises() {
    use crate::port::PortControl;
    use std::fs::File;
    use std::os::fd::OwnedFd;
    for (cache, read_only, fails) in [
        (Cache::Writeback, false, true),
        (Cache::Writeback, true, false),
        (Cache::Writethrough, false, false),
        (Cache::Unsafe, false, false),
    ] {
        // A pipe cannot be flushed, so whoever tries it has failed.
        let (pipe, _other) = std::io::pipe().unwrap();
        let image = Image::on(File::from(OwnedFd::from(pipe)), SIZE, read_only, None);
        let bench = Bench::with(&DiskSpec { cache, read_only, ..spec() }, image, 1);
        bench.port.sync();
        // The host is not asked in earnest.
        bench.stage.answer(&[Answer::Fail(0)]);
        bench.guest.flush();
        let outcome = if fails { Medium } else { Done };
        assert_eq!(bench.outcomes(), [outcome], "{cache:?} {read_only}");
    }
    let bench = Bench::new(&spec());
    bench.port.sync();
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Done], "the host can, and nothing is lost");
}

#[test]
fn a_durable_write_that_failed_counts_as_a_flush_that_did() {
    let bench = Bench::new(&DiskSpec { cache: Cache::Writethrough, ..spec() });
    bench.stage.answer(&[Answer::Fail(libc::ENOSPC), Answer::Do, Answer::Fail(libc::EIO)]);
    for _ in 0..4 {
        bench.guest.transfer(Operation::Write, 0, AT, 512);
    }
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.extend(bench.outcomes());
    }
    outcomes.truncate(3);
    assert_eq!(outcomes, [NoSpace, Done, Medium]);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Medium]);
}

/// B24, B25: a file in memory can punch holes but not zero ranges.
#[test]
fn zeroes_are_written_where_the_host_has_no_call_for_them() {
    let bench = Bench::new(&spec());
    bench.stage.write(0, &pattern(1 << 21, 1));
    bench.guest.ranges(Operation::WriteZeroes { unmap: false }, &[(512, 1_200_128)]);
    bench.run();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)]);
    assert_eq!(calls(&bench), [Call::Zero, PLAIN, PLAIN]);
    assert_eq!(bench.stage.read(512, 1_200_128), vec![0; 1_200_128]);
    assert_eq!(bench.stage.read(0, 512), pattern(1 << 21, 1)[..512]);
    assert_eq!(bench.stage.read(1_200_640, 512), pattern(1 << 21, 1)[1_200_640..1_201_152]);

    bench.guest.ranges(Operation::WriteZeroes { unmap: false }, &[(0, 512)]);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(calls(&bench), [PLAIN], "it is known by now");
}

#[test]
fn what_the_host_cannot_discard_stays_and_what_it_cannot_punch_is_zeroed() {
    let bench = Bench::new(&spec());
    bench.stage.write(0, &pattern(8192, 1));
    bench.stage.answer(&[Answer::Fail(libc::EOPNOTSUPP)]);
    bench.guest.ranges(Operation::Discard, &[(0, 4096), (4096, 4096)]);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(bench.stage.read(0, 8192), pattern(8192, 1));
    bench.guest.ranges(Operation::Discard, &[(0, 4096)]);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(calls(&bench), [Call::Punch]);
    bench.guest.ranges(Operation::WriteZeroes { unmap: true }, &[(0, 4096)]);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(bench.stage.read(0, 4096), [0; 4096]);
    assert_eq!(calls(&bench), [Call::Zero, PLAIN]);
}

#[test]
fn no_more_than_two_discards_are_with_the_host_at_once() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..5 {
        bench.guest.ranges(Operation::Discard, &[(0, 4096)]);
    }
    bench.guest.transfer(Operation::Write, 0, AT, 512);
    bench.run();
    assert_eq!(calls(&bench), [Call::Punch, Call::Punch, PLAIN]);
    while bench.stage.held() > 0 {
        bench.stage.release(0);
        bench.port.settle();
    }
    assert_eq!(bench.guest.take().len(), 6);
}

#[test]
fn an_empty_range_is_no_range() {
    let bench = Bench::new(&spec());
    bench.guest.ranges(Operation::Discard, &[(0, 0), (512, 0)]);
    bench.guest.ranges(Operation::WriteZeroes { unmap: false }, &[(0, 0)]);
    bench.guest.offer(|request| request.operation = Operation::Read);
    assert_eq!(bench.outcomes(), [Done, Done, Done]);
    assert_eq!(bench.stage.asked(), []);
}

#[test]
fn a_comparison_tells_the_same_from_other_bytes_without_touching_either() {
    let bench = Bench::new(&spec());
    let bytes = pattern(200_192, 9);
    bench.stage.write(512, &bytes);
    bench.write(AT, &bytes);
    bench.guest.transfer(Operation::Compare, 512, AT, 200_192);
    bench.run();
    (0..4).for_each(|_| bench.port.settle());
    assert_eq!(bench.guest.take(), [(0, Done)]);
    bench.write(AT + 200_191, &[bytes[200_191] ^ 1]);
    bench.guest.transfer(Operation::Compare, 512, AT, 200_192);
    bench.run();
    (0..4).for_each(|_| bench.port.settle());
    assert_eq!(bench.guest.take(), [(1, Differs)]);
    assert_eq!(bench.read(AT, 200_191), bytes[..200_191]);
}

/// B34.
#[test]
fn buffers_that_direct_io_does_not_take_go_through_private_memory() {
    let bench = Bench::direct(&spec(), 512, 512);
    let bytes = pattern(150_016, 5);
    bench.write(AT + 1, &bytes);
    bench.guest.transfer(Operation::Write, 512, AT + 1, 150_016);
    bench.run();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done)]);
    assert_eq!(bench.stage.read(512, 150_016), bytes);
    let asked = bench.stage.asked();
    assert!(asked.iter().all(|asked| !asked.cached && asked.len <= 65536), "{asked:?}");

    bench.guest.transfer(Operation::Read, 512, AT + 0x4_0003, 150_016);
    bench.run();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(1, Done)]);
    assert_eq!(bench.read(AT + 0x4_0003, 150_016), bytes);
    bench.guest.transfer(Operation::Read, 512, AT, 150_016);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(bench.count("bounced"), 2);
}

#[test]
fn what_is_no_whole_block_goes_through_the_page_cache() {
    let bench = Bench::direct(&spec(), 4096, 4096);
    let ways = |bench: &Bench| -> Vec<(bool, u64)> {
        bench.stage.asked().iter().map(|asked| (asked.cached, asked.len)).collect()
    };
    bench.guest.transfer(Operation::Write, 512, AT, 512);
    bench.guest.transfer(Operation::Write, 4096, AT, 4608);
    bench.guest.transfer(Operation::Write, 4096, AT, 8192);
    assert_eq!(bench.outcomes(), [Done, Done, Done]);
    assert_eq!(ways(&bench), [(true, 512), (true, 4608), (false, 8192)]);

    bench.stage.answer(&[Answer::Short(4608)]);
    bench.guest.transfer(Operation::Read, 0, AT, 8192);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(ways(&bench), [(false, 8192), (true, 3584)], "the rest is no whole block any more");

    bench.stage.answer(&[Answer::Fail(libc::EINVAL)]);
    bench.guest.transfer(Operation::Read, 0, AT, 8192);
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!(ways(&bench), [(false, 8192), (true, 8192)], "the host wants more than it said");
}

#[test]
fn private_memory_is_bounded_and_all_get_their_turn() {
    let bench = Bench::direct(&spec(), 512, 512);
    bench.stage.hold();
    for nth in 0..40u64 {
        bench.guest.transfer(Operation::Write, nth * 512, AT + 1, 512);
    }
    bench.run();
    assert_eq!(bench.stage.held(), 16);
    while bench.stage.held() > 0 {
        bench.stage.release(0);
        bench.port.settle();
    }
    assert_eq!(bench.guest.take().len(), 40);
}

#[test]
fn no_more_is_taken_than_may_be_in_flight_and_the_rest_is_not_forgotten() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..MAX_IN_FLIGHT + 50 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    bench.run();
    bench.port.settle();
    assert_eq!((bench.stage.held(), bench.guest.offers()), (MAX_IN_FLIGHT, 50));
    assert_eq!(bench.port.stats()[0].in_flight(), MAX_IN_FLIGHT as u64);
    bench.stage.release_all();
    (0..4).for_each(|_| bench.port.settle());
    assert_eq!(bench.guest.take().len(), MAX_IN_FLIGHT + 50);
    assert_eq!(bench.port.stats()[0].in_flight(), 0);
}

#[test]
fn more_than_may_be_in_flight_goes_through_without_another_kick() {
    let bench = Bench::new(&spec());
    for _ in 0..1000 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    bench.run();
    (0..20).for_each(|_| bench.port.settle());
    assert_eq!(bench.guest.take().len(), 1000);
}

/// B50.
#[test]
fn requests_complete_in_the_order_in_which_the_host_ends_them() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..4 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    bench.run();
    for nth in [2, 0, 1, 0] {
        bench.stage.release(nth);
        bench.port.settle();
    }
    let order: Vec<_> = bench.guest.take().into_iter().map(|(token, _)| token).collect();
    assert_eq!(order, [2, 0, 3, 1]);
}

/// B57: the ring comes home after the last of what the host had.
#[test]
fn a_ring_goes_home_when_all_has_ended_and_takes_nothing_new_meanwhile() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    for _ in 0..128 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    bench.run();
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    let (home, arrival) = channel();
    let (again, second) = channel();
    assert!(bench.port.unplug_then(0, move |ring| home.send(ring).unwrap()));
    assert!(bench.port.unplug_then(0, move |ring| again.send(ring.is_some()).unwrap()));
    bench.run();
    assert!(arrival.try_recv().is_err());
    assert!(bench.port.plug(0, Guest::new().ring()).is_err(), "the old one is still there");
    while bench.stage.held() > 0 {
        assert!(arrival.try_recv().is_err());
        bench.stage.release(0);
        bench.port.settle();
    }
    assert_eq!(bench.guest.take().len(), 128);
    let ring = arrival.try_recv().unwrap().expect("the first who asked gets it");
    assert!(!second.try_recv().unwrap());
    assert_eq!((bench.guest.offers(), bench.stage.asked().len()), (1, 128));
    assert!(!bench.port.unplug_then(7, |_| ()), "there is no such lane");

    // It goes on where it stopped.
    bench.stage.release_all();
    bench.port.plug(0, ring).unwrap();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(128, Done)]);
    assert!(bench.port.unplug(0).is_some());
    assert!(bench.port.unplug(0).is_none());
}

#[test]
fn a_ring_that_is_broken_is_told_so_after_what_was_in_flight() {
    let bench = Bench::new(&spec());
    bench.stage.hold();
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.run();
    bench.guest.break_ring();
    bench.run();
    assert_eq!(bench.guest.told_broken(), None);
    bench.stage.release(0);
    bench.port.settle();
    assert!(bench.guest.told_broken().is_some());
    assert_eq!(bench.guest.take(), [(0, Done)]);
    assert_eq!(bench.count("guest_faults"), 1);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.run();
    assert_eq!(bench.guest.offers(), 1, "it is left alone");
    assert!(bench.port.unplug(0).is_some());
}

/// B60: what has to wait is in the ring, and is charged once.
#[test]
fn a_request_beyond_the_limit_waits_in_the_ring() {
    let limits = Allowed { iops: Quota::per_second(1), bw: None };
    let bench = Bench::new(&DiskSpec { limits, ..spec() });
    for _ in 0..3 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    assert_eq!(bench.outcomes(), [Done]);
    assert_eq!((bench.guest.offers(), bench.count("throttled")), (2, 1));
    bench.run();
    bench.run();
    assert_eq!((bench.guest.put_backs(), bench.count("throttled")), (1, 1), "nobody looks again");
    let ring = bench.port.unplug(0).unwrap();
    assert_eq!(bench.guest.offers(), 2);
    use crate::port::PortControl;
    bench.port.limit(&Allowed::default());
    bench.port.plug(0, ring).unwrap();
    bench.port.settle();
    assert_eq!(bench.guest.take().len(), 2);
}

/// The time of the one request that is next, by the limit that it waited for.
#[test]
fn the_time_that_a_request_waits_for_a_limit_is_counted() {
    use crate::port::PortControl;
    for (limits, waited, other) in [
        (
            Allowed { iops: Quota::per_second(100), bw: None },
            "throttled_iops_us",
            "throttled_bw_us",
        ),
        (
            Allowed { iops: None, bw: Quota::per_second(51_200) },
            "throttled_bw_us",
            "throttled_iops_us",
        ),
    ] {
        let bench = Bench::new(&DiskSpec { limits, ..spec() });
        let mut ended = 0;
        for _ in 0..4 {
            bench.guest.transfer(Operation::Read, 0, AT, 512);
        }
        let begun = Instant::now();
        while ended < 4 {
            bench.run();
            ended += bench.guest.take().len();
        }
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
        assert!((1..=took).contains(&bench.count(waited)), "{} {took}", bench.count(waited));
        assert_eq!(bench.count(other), 0);
        let [bw, iops] = bench.port.throttled_us();
        assert_eq!([bw, iops], [bench.count("throttled_bw_us"), bench.count("throttled_iops_us")]);
    }
}

#[test]
fn each_stretch_of_a_request_s_way_is_timed() {
    use crate::port::PortControl;
    let bench = Bench::new(&spec());
    for _ in 0..5 {
        bench.guest.transfer(Operation::Read, 0, AT, 512);
    }
    // Refused before the host hears of it.
    bench.guest.transfer(Operation::Read, SIZE, AT, 512);
    assert_eq!(bench.outcomes().len(), 6);
    let stretches = &bench.port.stats()[0].stretches;
    let counts = [
        stretches.queue_to_submit.count(),
        stretches.submit_to_completion.count(),
        stretches.completion_to_interrupt.count(),
    ];
    assert_eq!(counts, [5, 5, 6]);
    let told = bench.port.inspect(crate::spec::Model::Virtio, true);
    assert!(told.stretches.submit_to_completion.max_ns > 0);
    for (name, times) in bench.port.timings().named() {
        let count: u64 = times.steps().map(|(_, count)| count).sum();
        assert_eq!(count, if name == "completion_to_interrupt" { 6 } else { 5 }, "{name}");
    }
    // What waits for another request waits in our queue.
    bench.stage.hold();
    bench.guest.flush();
    bench.guest.flush();
    bench.run();
    bench.stage.release_all();
    bench.port.settle();
    bench.port.settle();
    assert_eq!(stretches.queue_to_submit.count(), 7);
}

#[test]
fn limits_that_are_lifted_let_go_at_once() {
    use crate::port::PortControl;
    let limits = Allowed { bw: Quota::per_second(512), iops: None };
    let bench = Bench::new(&DiskSpec { limits, ..spec() });
    for _ in 0..2 {
        bench.guest.transfer(Operation::Read, 0, AT, 1 << 20);
    }
    assert_eq!(bench.outcomes(), [Done], "a large one goes, and is paid for later");
    bench.port.limit(&Allowed::default());
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(1, Done)]);
    assert_eq!(bench.port.allowed(), Allowed::default());
}

#[test]
fn what_was_swallowed_completes_when_the_fault_is_cleared() {
    use crate::port::PortControl;
    let bench = Bench::new(&DiskSpec { faults: vec![Fault::Swallow], ..spec() });
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), []);
    assert_eq!((bench.port.faults(), bench.stage.asked()), (vec![Fault::Swallow], vec![]));
    bench.port.clear_faults();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(0, Done), (1, Done)]);
}

#[test]
fn what_was_swallowed_keeps_no_ring_and_is_taken_back() {
    let bench = Bench::new(&DiskSpec { faults: vec![Fault::Swallow], ..spec() });
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    assert_eq!(bench.outcomes(), []);
    assert!(bench.port.unplug(0).is_some());
    assert_eq!(bench.guest.take(), [(0, Aborted)]);
}

#[test]
fn requests_fail_and_are_slow_on_purpose() {
    use crate::port::PortControl;
    let bench = Bench::new(&DiskSpec { faults: vec![Fault::Error], ..spec() });
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    assert_eq!(bench.outcomes(), [Medium]);
    assert_eq!(bench.stage.asked(), []);
    bench.port.clear_faults();
    bench.port.inject(Fault::Slow);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    assert_eq!(bench.outcomes(), []);
    bench.port.clear_faults();
    bench.port.settle();
    assert_eq!(bench.guest.take(), [(1, Done)]);
}

#[test]
fn a_second_lane_goes_on_while_the_first_waits_for_the_host() {
    let bench = Bench::with(&spec(), Image::in_memory(SIZE, false, None), 2);
    let other = Guest::new();
    bench.port.plug(1, other.ring()).unwrap();
    bench.stage.hold();
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.run();
    other.transfer(Operation::Read, 0, AT, 512);
    other.kick();
    bench.port.settle();
    bench.stage.release(1);
    bench.port.settle();
    assert_eq!((other.take(), bench.guest.take()), (vec![(0, Done)], vec![]));
}

/// A lane that may linger, with time in the test's hands: it takes no turn by itself meanwhile.
struct Busy<'a, 'b> {
    lane: &'a mut Lane<crate::testing::TestRing>,
    interest: &'a mut Interest<'b>,
    guest: Guest,
    now: Instant,
}

impl Busy<'_, '_> {
    fn lives(life: impl FnOnce(Busy<'_, '_>) + Send + 'static) {
        let image = Arc::new(Image::in_memory(SIZE, false, None));
        let (mut engines, _) = crate::engine::script::stage(image.clone(), 1);
        let shared = Shared {
            bells: Vec::new(),
            id: "test".to_string(),
            cache: Cache::Writeback,
            limiter: Limiter::new(Instant::now()),
            troubles: Troubles::default(),
            failures: Failures::default(),
        };
        let engine = Box::new(engines.remove(0));
        let memory = device_core::testing::ram(1 << 20);
        let mut lane = Lane::new(0, Arc::new(shared), image, engine, memory, Arc::default(), true);
        lane.linger = Linger::alone();
        let post = device_core::worker::IoThread::by_hand().unwrap().host(lane).unwrap();
        let guest = Guest::new();
        post.ask(move |lane, interest| {
            lane.plug(guest.ring(), interest).unwrap();
            life(Busy { lane, interest, guest, now: Instant::now() });
        });
    }

    /// A turn some time after the work of the last one.
    fn turn_after(&mut self, micros: u64) -> Again {
        self.now = self.now.max(self.lane.clock) + Duration::from_micros(micros);
        self.lane.run(self.now, self.interest)
    }
}

#[test]
fn a_guest_that_asks_again_soon_need_not_kick() {
    Busy::lives(|mut busy| {
        let mut again = Again::WhenReady;
        for _ in 0..20 {
            busy.guest.transfer(Operation::Read, 0, 0, 512);
            again = busy.turn_after(20);
            assert_eq!(busy.guest.take().len(), 1);
        }
        assert_eq!(again, Again::Unheard);
        assert!(busy.guest.quiets() > 0);
        assert_eq!(busy.turn_after(40), Again::Unheard);
        assert_eq!(busy.turn_after(40), Again::WhenReady, "none came");
        busy.guest.transfer(Operation::Read, 0, 0, 512);
        busy.turn_after(1);
        assert_eq!(busy.guest.take().len(), 1);
    });
}

#[test]
fn for_a_guest_with_little_to_do_the_lane_sleeps() {
    Busy::lives(|mut busy| {
        for _ in 0..50 {
            busy.guest.transfer(Operation::Read, 0, 0, 512);
            assert_eq!(busy.turn_after(5000), Again::WhenReady);
        }
        assert_eq!(busy.guest.quiets(), 0);
    });
}

#[test]
fn the_guest_sees_the_first_of_much_before_the_last() {
    let bench = Bench::new(&spec());
    for nth in 0..6 {
        bench.guest.transfer(Operation::Read, nth << 20, AT, 1 << 20);
    }
    bench.run();
    assert_eq!(bench.guest.take().len(), 4);
    bench.port.settle();
    assert_eq!(bench.guest.take().len(), 2);
}

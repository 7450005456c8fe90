//! Tests of persistent memory as its driver sees it (virtio 1.2, 5.19).

use std::fs::File;
use std::path::Path;

use super::*;
use crate::testing::guest::{END, GAP, TestGuest};
use crate::testing::ring::{readable, writable};
use device_core::rate::Quota;

const MIB: u64 = 1 << 20;

fn spec(path: &Path) -> PmemSpec {
    PmemSpec { id: "pmem0".into(), path: path.into(), ..PmemSpec::default() }
}

/// A file of `size` bytes in a folder that goes with the first.
fn file(size: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pmem");
    File::create(&path).unwrap().set_len(size).unwrap();
    (folder, path)
}

fn plugged(spec: &PmemSpec) -> (TestGuest, Arc<Pmem>) {
    let guest = TestGuest::new(1, false);
    let pmem = Pmem::build(spec, &guest.machine.kit()).unwrap();
    guest.plug(&*pmem, 0);
    (guest, pmem)
}

/// Offers a request of this type; where its answer goes.
fn offer(guest: &mut TestGuest, kind: u32) -> u64 {
    let request = guest.readable(&kind.to_le_bytes());
    let answer = guest.buffer(4);
    guest.write(answer, &[0xee; 4]);
    guest.queues[0].offer(&[request, writable(answer, 4)]);
    answer
}

fn run(guest: &mut TestGuest, pmem: &Pmem) -> Vec<u32> {
    guest.queues[0].kick();
    pmem.settle();
    guest.queues[0].take_all().into_iter().map(|(_, len)| len).collect()
}

#[test]
fn it_is_device_27_and_says_where_its_memory_is() {
    let (_folder, path) = file(4 * MIB);
    let (_guest, pmem) = plugged(&spec(&path));
    assert_eq!((pmem.kind(), pmem.features(), pmem.queue_sizes().len()), (27, 0, 1));
    assert_eq!(pmem.read_config(0, Width::B8), 1 << 40);
    assert_eq!(pmem.read_config(8, Width::B8), 4 * MIB);
    assert_eq!(pmem.read_config(8, Width::B4), 4 * MIB);
    assert_eq!(pmem.read_config(16, Width::B8), 0);
    assert_eq!(pmem.read_config(u64::MAX, Width::B8), 0);
}

#[test]
fn a_file_becomes_whole_granules_unless_it_is_read_only() {
    let (_folder, path) = file(2 * MIB + 5);
    let read_only = PmemSpec { read_only: true, ..spec(&path) };
    let (_guest, pmem) = plugged(&read_only);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * MIB + 5);
    assert_eq!(pmem.read_config(8, Width::B8), 4 * MIB);
    drop(pmem);

    let (_guest, pmem) = plugged(&spec(&path));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * MIB);
    assert_eq!(pmem.read_config(8, Width::B8), 4 * MIB);
}

#[test]
fn what_cannot_be_mapped_is_refused_by_its_name() {
    let guest = TestGuest::new(1, false);
    let (folder, path) = file(0);
    let said = |path: &Path| {
        let error = Pmem::build(&spec(path), &guest.machine.kit()).err().unwrap();
        error.to_string()
    };
    assert!(said(&path).ends_with("pmem is empty; make it at least 2 MiB"), "{}", said(&path));
    assert!(said(folder.path()).contains("neither a regular file nor a block device"));
    assert!(said(Path::new("nowhere")).contains("cannot open nowhere"));
}

#[test]
fn a_file_that_is_written_is_locked_and_one_that_is_read_can_be_shared() {
    let (_folder, path) = file(2 * MIB);
    let guest = TestGuest::new(1, false);
    let read_only = PmemSpec { read_only: true, ..spec(&path) };
    let one = Pmem::build(&read_only, &guest.machine.kit()).unwrap();
    let _other = Pmem::build(&read_only, &guest.machine.kit()).unwrap();
    let writer = Pmem::build(&spec(&path), &guest.machine.kit());
    assert!(matches!(writer, Err(BuildError::Image(_))));
    drop(one);
}

#[test]
fn a_flush_is_answered_when_the_host_has_done_it() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&spec(&path));
    let answer = offer(&mut guest, 0);
    assert_eq!(run(&mut guest, &pmem), [4]);
    assert_eq!((guest.read(answer, 4), guest.interrupts(0)), (vec![0; 4], 1));
    assert_eq!((pmem.counters().flushes.get(), pmem.counters().syncs.get()), (1, 1));
}

#[test]
fn all_that_wait_share_one_flush() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&spec(&path));
    for _ in 0..20 {
        offer(&mut guest, 0);
    }
    assert_eq!(run(&mut guest, &pmem), [4; 20]);
    assert_eq!((pmem.counters().flushes.get(), pmem.counters().syncs.get()), (20, 1));
}

#[test]
fn what_is_never_written_needs_no_flush_and_has_its_answer() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&PmemSpec { read_only: true, ..spec(&path) });
    let answer = offer(&mut guest, 0);
    assert_eq!(run(&mut guest, &pmem), [4]);
    assert_eq!((guest.read(answer, 4), pmem.counters().syncs.get()), (vec![0; 4], 0));
}

#[test]
fn a_flush_that_failed_once_fails_from_then_on() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&spec(&path));
    pmem.shared.image.lose(&io::Error::from_raw_os_error(5));
    for _ in 0..2 {
        let answer = offer(&mut guest, 0);
        assert_eq!(run(&mut guest, &pmem), [4]);
        assert_eq!(guest.read(answer, 4), [1, 0, 0, 0]);
    }
    assert_eq!(pmem.counters().failures.get(), 2);
}

#[test]
fn requests_that_make_no_sense_come_back() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&spec(&path));
    let at = guest.buffer(64);
    for chain in [
        vec![readable(at, 4)],
        vec![writable(at, 4)],
        vec![readable(at, 3), writable(at + 8, 4)],
        vec![readable(at, 4), writable(at + 8, 8)],
        vec![readable(at, 4), writable(at + 8, 4), writable(at + 12, 4)],
        vec![writable(at, 4), readable(at + 8, 4)],
        vec![readable(GAP, 4), writable(at, 4)],
        vec![readable(at, 4), writable(END, 4)],
    ] {
        guest.queues[0].offer(&chain);
        assert_eq!(run(&mut guest, &pmem), [0], "{chain:?}");
    }
    let answer = offer(&mut guest, 7);
    assert_eq!(run(&mut guest, &pmem), [4]);
    assert_eq!(guest.read(answer, 4), [1, 0, 0, 0], "there is no such request");
    assert_eq!(pmem.counters().refused.get(), 8);
    assert_eq!(guest.notice.resets_asked(), 0);
}

#[test]
fn limits_make_flushes_wait_and_can_be_changed() {
    let (_folder, path) = file(2 * MIB);
    let limits = Limits { bytes: Quota::per_second(1), operations: None };
    let (mut guest, pmem) = plugged(&PmemSpec { limits, ..spec(&path) });
    assert_eq!(pmem.limits(), limits);
    offer(&mut guest, 0);
    assert_eq!(run(&mut guest, &pmem), [4], "the first is let through");
    offer(&mut guest, 0);
    assert_eq!(run(&mut guest, &pmem), Vec::<u32>::new());
    assert!(pmem.counters().throttled.get() > 0);
    pmem.limit(Limits::default());
    assert_eq!(run(&mut guest, &pmem), [4]);
}

#[test]
fn after_a_pause_it_goes_on_where_it_stopped() {
    let (_folder, path) = file(2 * MIB);
    let (mut guest, pmem) = plugged(&spec(&path));
    let queues = pmem.unplug();
    offer(&mut guest, 0);
    guest.queues[0].force_kick();
    assert_eq!(guest.queues[0].take(), None);
    pmem.plug(0, queues, guest.notice.clone()).unwrap();
    assert_eq!(run(&mut guest, &pmem), [4]);
}

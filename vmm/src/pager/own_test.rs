//! Tests of our own pager, on this process's own memory.

use std::os::unix::fs::FileExt;

use device_core::GuestRam;
use device_core::reclaim::Reclaim;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory::reclaim::Reclaimer;
use crate::memory::touched::Touched;
use crate::memory::{Pages, map, release};

const BYTES: u64 = 16 << 20;

/// A file with one number in each of its pages from 4 MiB to 8 MiB, and holes else.
fn memory_file() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES).unwrap();
    for at in ((4u64 << 20)..(8 << 20)).step_by(4096) {
        file.write_all_at(&at.to_ne_bytes(), at).unwrap();
    }
    file
}

/// Memory that is served from it; `None` where this process may have no page faults.
fn served(file: &File, wish: Wish) -> Option<(GuestRam, Helper, Arc<Ends>)> {
    let (ram, ends) = (map(BYTES, Pages::Small).unwrap(), Ends::new().unwrap());
    match start(file, Regions::of(&ram), wish, &ends) {
        Ok(helper) => Some((ram, helper, ends)),
        Err(OwnError::Uffd(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn wish(ahead: Vec<Run>, record: Option<Record>) -> Wish {
    Wish { page_size: 4096, ahead, record }
}

fn word(ram: &GuestRam, at: u64) -> u64 {
    ram.read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn pages_are_what_the_file_has_and_what_is_given_back_is_zero() {
    let file = memory_file();
    let Some((ram, helper, ends)) = served(&file, wish(Vec::new(), None)) else { return };
    assert_eq!((word(&ram, 5 << 20), word(&ram, 0), word(&ram, 15 << 20)), (5 << 20, 0, 0));
    ram.write_obj(7u64, GuestAddress((6 << 20) + 8)).unwrap();
    assert_eq!((word(&ram, 6 << 20), word(&ram, (6 << 20) + 8)), (6 << 20, 7));
    // One that was there, one that never was.
    let reclaim = Reclaimer::new(&ram, Pages::Small);
    for at in [5u64 << 20, 7 << 20] {
        assert_eq!(reclaim.discard(at, 8192).unwrap(), 8192);
        assert_eq!(
            (word(&ram, at), word(&ram, at + 4096), word(&ram, at + 8192)),
            (0, 0, at + 8192)
        );
        ram.write_obj(9u64, GuestAddress(at)).unwrap();
        assert_eq!(word(&ram, at), 9);
    }
    assert!(ends.take().is_none());
    drop((reclaim, helper));
    release(ram);
}

#[test]
fn what_is_used_is_written_down_in_its_order_and_comes_by_itself_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.used");
    let (file, memory) = (memory_file(), [3; 16]);
    let record = Record { file: working_set::create(&path).unwrap(), memory };
    let Some((ram, helper, _)) = served(&file, wish(Vec::new(), Some(record))) else { return };
    assert_eq!(word(&ram, 7 << 20), 7 << 20);
    ram.write_obj(1u64, GuestAddress(12 << 20)).unwrap();
    assert_eq!(word(&ram, 5 << 20), 5 << 20);
    // Read before, and only now written to.
    ram.write_obj(1u64, GuestAddress(7 << 20)).unwrap();
    drop(helper);
    release(ram);
    let runs = working_set::read(&path, memory, BYTES).unwrap().unwrap();
    let run = |mib: u32, written| Run { first: mib << 8, pages: 1, written };
    assert_eq!(runs, [run(7, true), run(12, true), run(5, false)]);

    let Some((ram, helper, _)) = served(&file, wish(runs, None)) else { return };
    let (host, _) = Regions::of(&ram).host_of(0).unwrap();
    let mut touched = Touched::look();
    for at in [5u64 << 20, 7 << 20, 12 << 20] {
        while !touched.any(host + at, 4096) {
            std::thread::yield_now();
        }
    }
    assert!(!touched.any(host + (6 << 20), 4096));
    assert_eq!((word(&ram, 7 << 20), word(&ram, 12 << 20)), (7 << 20, 0));
    drop(helper);
    release(ram);
}

#[test]
fn a_file_that_was_cut_off_is_the_end_and_no_hang() {
    let file = memory_file();
    let Some((ram, helper, ends)) = served(&file, wish(Vec::new(), None)) else { return };
    file.set_len(4 << 20).unwrap();
    // Nobody may wait in this process for a page that never comes.
    let ahead = vec![Run { first: 5 << 8, pages: 1, written: false }];
    drop(helper);
    release(ram);
    assert!(ends.take().is_none());
    let Some((ram, helper, ends)) = served(&file, wish(ahead, None)) else { return };
    let end = loop {
        match ends.take() {
            Some(end) => break end,
            None => std::thread::yield_now(),
        }
    };
    assert!(end.to_string().contains("cut off"), "{end}");
    drop(helper);
    release(ram);
}

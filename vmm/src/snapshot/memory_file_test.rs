//! Tests of memory in a file.

use std::os::unix::fs::MetadataExt;

use device_core::GuestRam;
use vm_memory::GuestAddress;

use super::*;
use crate::memory::reclaim::Reclaimer;
use crate::memory::{Pages, map, release, restored};
use device_core::reclaim::Reclaim;

const BYTES: u64 = (3 << 30) + (6 << 20);
const HIGH: u64 = 4 << 30;

fn put(ram: &GuestRam, at: u64, word: u64) {
    ram.write_obj(word, GuestAddress(at)).unwrap();
}

fn get(ram: &GuestRam, at: u64) -> u64 {
    ram.read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn memory_comes_back_from_its_file_which_is_as_small_as_what_was_written() {
    let ram = map(BYTES, Pages::Small).unwrap();
    let words = [(0, 1), (4096, 2), ((3 << 30) - 8, 3), (HIGH, 4), (HIGH + (6 << 20) - 8, 5)];
    words.iter().for_each(|(at, word)| put(&ram, *at, *word));
    // Touched, and zero.
    put(&ram, 64 << 20, 0);
    let file = tempfile::tempfile().unwrap();
    let sums = write(&ram, None, Touched::look(), &file).unwrap();
    release(ram);
    assert_eq!((sums.bytes, sums.data_bytes), (BYTES, 5 * 4096));
    assert_eq!(sums.pieces.len(), 4);
    let on_disk = file.metadata().unwrap();
    assert_eq!(on_disk.len(), BYTES);
    assert!(on_disk.blocks() * 512 < 1 << 20, "{} blocks", on_disk.blocks());
    assert_eq!(check(&file, &sums).unwrap(), None);
    assert_eq!(glance(&file, &sums).unwrap(), None);

    let ram = restored::map(BYTES, &file).unwrap();
    words.iter().for_each(|(at, word)| assert_eq!(get(&ram, *at), *word, "at {at:#x}"));
    assert_eq!(get(&ram, 64 << 20), 0);
    release(ram);
}

#[test]
fn memory_of_a_file_is_written_with_what_nobody_touched_and_without_what_was_given_back() {
    let ram = map(64 << 20, Pages::Small).unwrap();
    for at in [0, 10 << 20, 20 << 20, 30 << 20] {
        put(&ram, at, at | 7);
    }
    let first = tempfile::tempfile().unwrap();
    write(&ram, None, Touched::look(), &first).unwrap();
    release(ram);

    let ram = restored::map(64 << 20, &first).unwrap();
    let reclaim = Reclaimer::of_file(&ram);
    put(&ram, 10 << 20, 99);
    put(&ram, 40 << 20, 100);
    reclaim.discard(20 << 20, 4096).unwrap();
    let second = tempfile::tempfile().unwrap();
    let sums = write(&ram, Some(&first), Touched::look(), &second).unwrap();
    drop(reclaim);
    release(ram);

    assert_eq!(sums.data_bytes, 4 * 4096);
    let ram = restored::map(64 << 20, &second).unwrap();
    let words = [0, 10 << 20, 20 << 20, 30 << 20, 40 << 20].map(|at| get(&ram, at));
    assert_eq!(words, [7, 99, 0, 30 << 20 | 7, 100]);
    release(ram);
}

#[test]
fn another_byte_is_found_wherever_it_is() {
    let ram = map(64 << 20, Pages::Small).unwrap();
    [0, 9 << 20, 40 << 20].into_iter().for_each(|at| put(&ram, at, 1));
    let file = tempfile::tempfile().unwrap();
    let sums = write(&ram, None, Touched::look(), &file).unwrap();
    release(ram);
    let piece_bytes = PIECE as u64;
    for at in [3, (9 << 20) + 100, (50 << 20) + 5, (64 << 20) - 1] {
        let mut old = [0];
        file.read_exact_at(&mut old, at).unwrap();
        file.write_all_at(&[old[0] ^ 0x40], at).unwrap();
        let piece = at / piece_bytes * piece_bytes;
        assert_eq!(check(&file, &sums).unwrap(), Some(Differs { at: piece }));
        file.write_all_at(&old, at).unwrap();
    }
    assert_eq!(check(&file, &sums).unwrap(), None);
    // Pieces that the file does not have, as a file that nobody trusts may say.
    let more = Sums { pieces: vec![(0, sums.pieces[0].1), (u32::MAX, 1)], ..sums };
    assert!(check(&file, &more).unwrap().is_some());
    assert!(glance(&file, &more).unwrap().is_some());
}

/// What is known of the whole memory is known of it with the changes too, and shows whether they were laid over it.
#[test]
fn changes_know_the_whole_memory_where_they_are_many_and_where_there_are_none() {
    let ram = map(64 << 20, Pages::Small).unwrap();
    let piece_bytes = PIECE as u64;
    [0, 1, 2, 3].into_iter().for_each(|number| put(&ram, number * piece_bytes, 1));
    let first = tempfile::tempfile().unwrap();
    let before = write(&ram, None, Touched::look(), &first).unwrap();

    // A little of two pieces, much of the third, nothing of the fourth.
    let mut set = PageSet::none(64 << 20);
    let (second, third) = (piece_bytes / 4096 + 1, 2 * piece_bytes / 4096 + 9);
    let runs = [(1, 1), (second, 2), (third, 100)];
    runs.into_iter().for_each(|(page, count)| set.add(page, count));
    let touched = [1, second, second + 1, third, third + 99];
    touched.into_iter().for_each(|page| put(&ram, page * 4096, page));
    let file = tempfile::tempfile().unwrap();
    let sums = write_changed(&ram, &set, ("base", &before), &file).unwrap();
    let whole = tempfile::tempfile().unwrap();
    let wanted = write(&ram, None, Touched::look(), &whole).unwrap();
    release(ram);

    let changed = sums.changed.as_ref().unwrap();
    assert_eq!(sums.data_bytes, 103 * 4096);
    assert_eq!(changed.runs, runs);
    assert_eq!(changed.pieces.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(changed.unsummed, [1]);
    let known: Vec<_> = wanted.pieces.iter().filter(|sum| sum.0 != 1).copied().collect();
    assert_eq!(sums.pieces, known);
    assert_eq!(check_changed(&file, changed).unwrap(), None);
    assert_eq!((check(&whole, &sums).unwrap(), glance(&whole, &sums).unwrap()), (None, None));
    // The changes alone are not the memory, and neither is what was before.
    for other in [&file, &first] {
        assert!(glance(other, &sums).unwrap().is_some());
        assert!(check(other, &sums).unwrap().is_some());
    }
    file.write_all_at(&[1], second * 4096 + 77).unwrap();
    assert_eq!(check_changed(&file, changed).unwrap(), Some(Differs { at: piece_bytes }));
}

#[test]
fn runs_that_are_not_in_order_or_of_the_memory_are_not_taken() {
    let changed = |runs: &[(u64, u64)]| Changed {
        base: String::new(),
        runs: runs.to_vec(),
        pieces: Vec::new(),
        unsummed: Vec::new(),
    };
    let fits = |runs: &[(u64, u64)]| changed(runs).fits(16 * 4096);
    assert!(fits(&[]) && fits(&[(0, 16)]) && fits(&[(0, 1), (1, 1), (15, 1)]));
    for runs in [
        &[(0, 17)][..],
        &[(16, 1)],
        &[(u64::MAX, 1)],
        &[(0, u64::MAX)],
        &[(1, 0)],
        &[(4, 1), (3, 1)],
        &[(4, 2), (5, 1)],
    ] {
        assert!(!fits(runs), "{runs:?}");
    }
}

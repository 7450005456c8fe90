//! Tests of changes laid over what they are of (snapshot facts, statements 39 to 42).

use std::fs;

use device_core::reclaim::Reclaim;
use device_core::{GuestRam, dirty};
use serde_json::json;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::*;
use crate::memory::pages::PageSet;
use crate::memory::reclaim::Reclaimer;
use crate::memory::touched::Touched;
use crate::memory::{Pages, map, release};
use crate::snapshot::samples;

const PAGE: u64 = 4096;
const HIGH: u64 = 4 << 30;

/// Writes a snapshot with this memory to a folder, and reads it back.
fn snapshot(folder: &Path, id: &str, sums: Sums) -> Snapshot {
    let head = Head {
        kind: if sums.changed.is_some() { "diff" } else { "full" }.into(),
        id: id.into(),
        base: sums.changed.as_ref().map(|changed| changed.base.clone()),
        memory_bytes: sums.bytes,
        memory_data_bytes: sums.data_bytes,
        ..samples::head()
    };
    let body = Body { config: json!({ "of": id }), memory: sums, ..samples::body() };
    let (state, memory) = (folder.join("state"), folder.join("memory"));
    format::write(&File::create(&state).unwrap(), &head, &body).unwrap();
    Snapshot::open(state, memory).unwrap()
}

fn folder(root: &Path, id: &str) -> (PathBuf, File) {
    let folder = root.join(id);
    fs::create_dir(&folder).unwrap();
    let memory = File::create_new(folder.join("memory")).unwrap();
    (folder, memory)
}

/// Writes all of a memory.
fn full(root: &Path, id: &str, ram: &GuestRam) -> Snapshot {
    let (folder, memory) = folder(root, id);
    let sums = memory_file::write(ram, None, Touched::look(), &memory).unwrap();
    snapshot(&folder, id, sums)
}

/// Writes what this process has changed of it since it was asked last.
fn diff(root: &Path, id: &str, ram: &GuestRam, before: &Snapshot) -> Snapshot {
    let (folder, memory) = folder(root, id);
    let mut set = PageSet::none(ram.iter().map(GuestMemoryRegion::len).sum());
    let mut first = 0;
    for region in ram.iter() {
        set.add_words(first, &dirty::of(region).take());
        first += region.len() / PAGE;
    }
    let base = (before.head.id.as_str(), &before.body.memory);
    let sums = memory_file::write_changed(ram, &set, base, &memory).unwrap();
    snapshot(&folder, id, sums)
}

fn put(ram: &GuestRam, at: u64, word: u64) {
    ram.write_obj(word, GuestAddress(at)).unwrap();
}

fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// 40, 41: base + diff1 + diff2 is what a full snapshot at the same pause is, byte for byte, with pages that became zero,
/// by the guest's hand or given back, and pages behind the hole of 3 to 4 GiB.
#[test]
fn changes_laid_over_their_base_are_what_a_full_snapshot_is() {
    let root = tempfile::tempdir().unwrap();
    // In two regions, of which the first ends with pages that never change.
    let ram = map((3 << 30) + (6 << 20), Pages::Small).unwrap();
    dirty::begin(&ram);
    let reclaim = Reclaimer::new(&ram, Pages::Small);
    for at in [0, 5 << 20, 6 << 20, 1 << 30, HIGH, HIGH + (4 << 20)] {
        put(&ram, at, at | 1);
    }
    let base = full(root.path(), "base", &ram);
    let first = diff(root.path(), "unused", &ram, &base);
    assert_eq!(first.body.memory.data_bytes, 6 * PAGE, "since the beginning");

    put(&ram, 5 << 20, 0);
    put(&ram, (5 << 20) + PAGE, 2);
    put(&ram, HIGH + PAGE, 3);
    reclaim.discard(1 << 30, PAGE).unwrap();
    let one = diff(root.path(), "one", &ram, &base);
    assert_eq!(one.body.memory.data_bytes, 4 * PAGE);
    put(&ram, (5 << 20) + PAGE, 4);
    put(&ram, (3 << 30) - 8, 5);
    put(&ram, HIGH + (6 << 20) - 8, 6);
    let two = diff(root.path(), "two", &ram, &one);
    let wanted = full(root.path(), "wanted", &ram);
    drop(reclaim);
    release(ram);

    let to = root.path().join("to");
    fs::create_dir(&to).unwrap();
    let (state, memory) = (to.join("state"), to.join("memory"));
    let sums = merge(&base, &[one, two], (&state, &memory)).unwrap();
    assert_eq!(sums, wanted.body.memory);
    let merged = Snapshot::open(state, memory).unwrap();
    merged.check().unwrap();
    assert_eq!((merged.head.kind.as_str(), merged.head.base), ("full", None));
    assert_eq!((merged.head.id, merged.body.config), ("two".into(), json!({ "of": "two" })));
    for piece in 0..sums.bytes / PIECE as u64 {
        let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
        // Most of both are holes.
        if sums.pieces.iter().any(|(number, _)| u64::from(*number) == piece) {
            merged.file.read_exact_at(&mut one, piece * PIECE as u64).unwrap();
            wanted.file.read_exact_at(&mut other, piece * PIECE as u64).unwrap();
            assert!(one == other, "piece {piece}");
        }
    }
}

/// 42: changes go over nothing but what they are of, and not over what has changed itself.
#[test]
fn changes_go_over_nothing_but_what_they_are_of() {
    let root = tempfile::tempdir().unwrap();
    let ram = map(8 << 20, Pages::Small).unwrap();
    dirty::begin(&ram);
    put(&ram, 0, 1);
    let base = full(root.path(), "base", &ram);
    let other = full(root.path(), "other", &ram);
    let one = diff(root.path(), "one", &ram, &base);
    put(&ram, 4 << 20, 2);
    let two = diff(root.path(), "two", &ram, &one);
    release(ram);
    let (state, memory) = (root.path().join("state"), root.path().join("memory"));
    let refused = |base: &Snapshot, diffs: &[Snapshot]| {
        merge(base, diffs, (&state, &memory)).unwrap_err().to_string()
    };
    let (ones, twos) = ([one], [two]);
    assert!(refused(&other, &ones).contains("since snapshot base, and that before it is other"));
    assert!(refused(&base, &twos).contains("since snapshot one, and that before it is base"));
    assert!(refused(&ones[0], &twos).contains("since snapshot base; name that first"));
    assert!(refused(&base, &[other]).contains("has all of its memory"));
    // 47: a flipped bit of what has changed.
    let path = root.path().join("one/memory");
    let mut bytes = content(&path);
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(refused(&base, &ones).contains("damaged at 0x0"));
    assert!(!state.exists() && !memory.exists());
}

/// Holes that somebody dug where pages are zero, and data in holes, as copies have them, do no harm.
#[test]
fn what_else_is_in_a_file_of_changes_means_nothing() {
    let root = tempfile::tempdir().unwrap();
    let ram = map(8 << 20, Pages::Small).unwrap();
    dirty::begin(&ram);
    put(&ram, 0, 1);
    put(&ram, 4 << 20, 2);
    let base = full(root.path(), "base", &ram);
    let _ = diff(root.path(), "unused", &ram, &base);
    put(&ram, 4 << 20, 0);
    let one = diff(root.path(), "one", &ram, &base);
    let wanted = full(root.path(), "wanted", &ram);
    release(ram);

    let path = root.path().join("one/memory");
    // The only page in it is zero.
    let hole = File::create(&path).unwrap();
    hole.set_len(8 << 20).unwrap();
    hole.write_all_at(&[9; 100], 6 << 20).unwrap();
    let one = Snapshot::open(one.state, path).unwrap();
    let (state, memory) = (root.path().join("state"), root.path().join("memory"));
    assert_eq!(merge(&base, &[one], (&state, &memory)).unwrap(), wanted.body.memory);
    assert_eq!(content(&memory), content(&root.path().join("wanted/memory")));
}

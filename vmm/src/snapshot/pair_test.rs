//! Tests of two files that take their places together (snapshot facts, statements 43 and 45).

use std::fs;
use std::io::Write;

use super::*;
use crate::snapshot::samples;
use device_core::files::Own;

/// What a snapshot that can be read has as its memory; the state is looked at too.
fn read(folder: &Path) -> Option<String> {
    let head = format::open(&folder.join("state")).ok()?.head().ok()?;
    let memory = fs::read_to_string(memory_at(&folder.join("memory"), head.turn)).ok()?;
    assert_eq!(memory, head.id, "the memory is that of the state");
    Some(memory)
}

/// A pair that has all that it is to have.
fn written(folder: &Path, id: &str) -> Pair<'static> {
    let pair = Pair::beside(&folder.join("state"), &folder.join("memory"), &Own);
    let pair = pair.unwrap_or_else(|error| panic!("{}: {}", error.path.display(), error.source));
    pair.memory().write_all(id.as_bytes()).unwrap();
    let mut head = samples::head();
    (head.id, head.turn) = (id.to_string(), pair.turn());
    format::write(pair.state(), &head, &samples::body()).unwrap();
    pair
}

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn one_is_there_at_each_step_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    written(folder, "one").publish().ok().unwrap();
    for (round, id) in ["two", "three", "four"].into_iter().enumerate() {
        let pair = written(folder, id);
        let old = read(folder).unwrap();
        assert_ne!(old, id);
        let Pair { mut state, mut memory, .. } = pair;
        assert_eq!(read(folder), Some(old));
        state.publish().unwrap();
        assert_eq!(read(folder).as_deref(), Some(id), "its memory is beside its place");
        // Killed here, once, and the next one writes.
        match round {
            1 => memory.keep(true),
            _ => memory.publish().unwrap(),
        }
        assert_eq!(read(folder).as_deref(), Some(id));
    }
    written(folder, "five").publish().ok().unwrap();
    assert_eq!((read(folder).as_deref(), names(folder)), (Some("five"), 2));
}

#[test]
fn who_is_killed_while_he_writes_leaves_the_old_one_and_the_next_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    written(folder, "one").publish().ok().unwrap();
    for id in ["two", "three"] {
        // Gone, as a process that is killed: its locks with it, and its files not.
        let Pair { mut state, mut memory, .. } = written(folder, id);
        state.keep(true);
        memory.keep(true);
        drop((state, memory));
        assert_eq!((read(folder).as_deref(), names(folder)), (Some("one"), 4));
    }
    // One that fails takes its own away.
    drop(written(folder, "four"));
    assert_eq!((read(folder).as_deref(), names(folder)), (Some("one"), 2));
    written(folder, "five").publish().ok().unwrap();
    assert_eq!((read(folder).as_deref(), names(folder)), (Some("five"), 2));
}

#[test]
fn a_state_that_cannot_take_its_place_leaves_the_old_one_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let place = folder.join("state");
    // Nothing is moved over a folder.
    fs::create_dir_all(place.join("in")).unwrap();
    let error = written(folder, "one").publish().err().unwrap();
    assert_eq!(error.path, place);
    assert_eq!(names(folder), 1);
}

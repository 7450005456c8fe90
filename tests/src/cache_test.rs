//! Tests of the cache: filled once, checked on every use.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

fn fill(work: &Work) -> Result<String> {
    fs::write(work.files().join("file"), b"content")?;
    Ok("package 1.0".to_owned())
}

fn must_not_fill(_: &Work) -> Result<String> {
    bail!("filled again")
}

#[test]
fn a_set_is_filled_once() {
    let cache = tempfile::tempdir().unwrap();
    Set::open_below(cache.path(), "set", "1", fill).unwrap();
    let set = Set::open_below(cache.path(), "set", "1", must_not_fill).unwrap();
    assert_eq!(set.read("file").unwrap(), b"content");
    assert_eq!(set.origin(), "package 1.0");
}

#[test]
fn another_recipe_fills_again() {
    let cache = tempfile::tempdir().unwrap();
    Set::open_below(cache.path(), "set", "1", fill).unwrap();
    assert!(Set::open_below(cache.path(), "set", "2", must_not_fill).is_err());
}

#[test]
fn a_changed_file_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let set = Set::open_below(cache.path(), "set", "1", fill).unwrap();
    fs::write(cache.path().join("set/file"), b"c0ntent").unwrap();
    for error in [set.path("file").unwrap_err(), set.folder().unwrap_err()] {
        assert!(error.to_string().contains("differs from its manifest"), "{error}");
    }
}

#[test]
fn a_file_outside_the_manifest_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let set = Set::open_below(cache.path(), "set", "1", fill).unwrap();
    fs::write(cache.path().join("set/other"), b"x").unwrap();
    assert!(set.read("other").is_err());
}

/// Names in the cache of all but locks.
fn names(cache: &Path) -> Vec<String> {
    let names = fs::read_dir(cache).unwrap().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with(LOCK)).collect()
}

#[test]
fn a_fill_that_fails_leaves_nothing_and_no_worse_set() {
    let cache = tempfile::tempdir().unwrap();
    let fail = |work: &Work| -> Result<String> {
        fill(work)?;
        fs::create_dir_all(work.scratch().join("unpacked"))?;
        bail!("interrupted")
    };
    assert!(Set::open_below(cache.path(), "set", "1", fail).is_err());
    assert!(names(cache.path()).is_empty(), "{:?}", names(cache.path()));
    Set::open_below(cache.path(), "set", "1", fill).unwrap();
    assert!(Set::open_below(cache.path(), "set", "2", fail).is_err());
    let old = Set::open_below(cache.path(), "set", "1", must_not_fill).unwrap();
    assert_eq!(old.read("file").unwrap(), b"content");
}

#[test]
fn what_killed_processes_left_goes_with_the_next_fill_but_not_what_is_being_made() {
    let cache = tempfile::tempdir().unwrap();
    for left in [".part-set-Ab1", ".part-kernel-6.1-Xy2", ".part-live-Zz3"] {
        fs::create_dir_all(cache.path().join(left).join("scratch/unpacked")).unwrap();
    }
    for left in ["set", "kernel-6.1"] {
        lock(cache.path(), left).unwrap();
    }
    let live = lock(cache.path(), "live").unwrap();
    live.lock().unwrap();
    Set::open_below(cache.path(), "set", "1", fill).unwrap();
    let mut left = names(cache.path());
    left.sort();
    assert_eq!(left, [".part-live-Zz3", "set"]);
}

#[test]
fn of_many_at_once_one_fills() {
    let cache = tempfile::tempdir().unwrap();
    let filled = AtomicU32::new(0);
    let slowly = |work: &Work| -> Result<String> {
        filled.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        fill(work)
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Set::open_below(cache.path(), "set", "1", slowly).unwrap());
        }
    });
    assert_eq!(filled.into_inner(), 1);
}

#[test]
fn a_full_disk_is_told_in_one_line_whoever_meets_it() {
    let cache = tempfile::tempdir().unwrap();
    let ours = |_: &Work| -> Result<String> {
        fs::write("/dev/full", "x")?;
        Ok(String::new())
    };
    let theirs = |_: &Work| -> Result<String> {
        crate::process::quiet(std::process::Command::new("cp").args(["/etc/passwd", "/dev/full"]))?;
        Ok(String::new())
    };
    let ours = Set::open_below(cache.path(), "set", "1", ours).err().unwrap();
    let theirs = Set::open_below(cache.path(), "set", "1", theirs).err().unwrap();
    for error in [ours, theirs] {
        let wanted = format!(
            "cannot fetch set; free space, or set VMM_CACHE to a folder elsewhere: \
             the disk of {} is full",
            cache.path().display()
        );
        assert_eq!(format!("{error:#}"), wanted);
    }
    assert!(names(cache.path()).is_empty());
}

#[test]
fn sums_are_those_of_the_standard() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

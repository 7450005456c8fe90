//! Paths that lead into places, out of them, and around.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A place with a file, and the folder beside it with another.
fn world() -> (tempfile::TempDir, PathBuf, PathBuf, Places) {
    let root = tempfile::tempdir().unwrap();
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    for folder in [&inside, &outside] {
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        fs::write(folder.join("file"), "text").unwrap();
    }
    let mut places = Places::default();
    places.add(&inside).unwrap();
    (root, inside, outside, places)
}

#[track_caller]
fn opens(places: &Places, path: &Path) {
    let found = places.find(path).unwrap_or_else(|why| panic!("{path:?}: {why:?}"));
    found.open(OFlags::RDONLY).unwrap();
}

#[track_caller]
fn is_outside(places: &Places, path: &Path) {
    assert_eq!(places.find(path).map(drop).unwrap_err(), NotFound::Outside, "{path:?}");
}

#[test]
fn what_lies_beneath_a_place_is_found_by_whatever_path() {
    let (root, inside, _, places) = world();
    opens(&places, &inside.join("file"));
    opens(&places, &inside.join("deep/../file"));
    opens(&places, &inside.join("../outside/../inside/./file"));
    symlink(&inside, root.path().join("other-name")).unwrap();
    opens(&places, &root.path().join("other-name/file"));
    symlink("file", inside.join("link")).unwrap();
    opens(&places, &inside.join("link"));
    symlink(inside.join("file"), inside.join("absolute")).unwrap();
    opens(&places, &inside.join("absolute"));
}

#[test]
fn nothing_leads_out_of_a_place() {
    let (root, inside, outside, places) = world();
    is_outside(&places, &outside.join("file"));
    is_outside(&places, &inside.join("../outside/file"));
    is_outside(&places, Path::new("/etc/passwd"));
    symlink(outside.join("file"), inside.join("link")).unwrap();
    is_outside(&places, &inside.join("link"));
    symlink("../outside", inside.join("folder")).unwrap();
    is_outside(&places, &inside.join("folder/file"));
    is_outside(&places, &inside.join("folder/new"));
    // The place itself is a name in the folder above.
    assert_eq!(places.find(&inside).map(drop).unwrap_err(), NotFound::Host(Errno::ISDIR));
    is_outside(&places, root.path());
    for no_file in ["/", "..", "."] {
        assert_eq!(places.find(Path::new(no_file)).map(drop), Err(NotFound::Host(Errno::ISDIR)));
    }
    let around = inside.join("around");
    symlink("around", &around).unwrap();
    assert_eq!(places.find(&around).map(drop), Err(NotFound::Host(Errno::LOOP)));
}

#[test]
fn what_becomes_a_link_after_it_was_found_is_not_followed() {
    let (_root, inside, outside, places) = world();
    let path = inside.join("file");
    let found = places.find(&path).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(outside.join("file"), &path).unwrap();
    assert_eq!(found.open(OFlags::RDONLY).map(drop), Err(Errno::LOOP));
    let new = places.find(&inside.join("new")).unwrap();
    symlink(outside.join("made"), inside.join("new")).unwrap();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    assert!(new.open(flags).is_err());
    assert!(!outside.join("made").exists());
}

#[test]
fn a_file_as_a_place_lets_no_neighbour_in() {
    let (_root, inside, outside, _) = world();
    let mut places = Places::default();
    places.add(&inside.join("file")).unwrap();
    fs::write(inside.join("other"), "text").unwrap();
    opens(&places, &inside.join("file"));
    is_outside(&places, &inside.join("other"));
    is_outside(&places, &outside.join("file"));
    assert_eq!(places.add(&inside.join("nothing")), Err(Errno::NOENT));
}

//! Tests of the cache: filled once, checked on every use.

use super::*;

fn fill(folder: &Path) -> Result<String> {
    fs::write(folder.join("file"), b"content")?;
    Ok("package 1.0".to_owned())
}

fn must_not_fill(_: &Path) -> Result<String> {
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

#[test]
fn sums_are_those_of_the_standard() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

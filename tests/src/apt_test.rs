//! Tests of reading apt's entries.

use super::*;

#[test]
fn the_first_paragraph_counts() {
    let text = "Package: a\nVersion: 2\nDepends: libc6 (>= 2.34), libx | liby, z\nSHA256: 00ff\n\nPackage: a\nVersion: 1\n";
    let package = Package::parse(text).unwrap();
    assert_eq!((package.name.as_str(), package.version.as_str()), ("a", "2"));
    assert_eq!(package.depends(), ["libc6", "libx", "z"]);
}

#[test]
fn an_entry_without_a_hash_is_refused() {
    assert!(Package::parse("Package: a\nVersion: 2\n").is_err());
}

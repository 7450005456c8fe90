//! Tests of the archive writer, read back with the crate's reader.

use super::*;

fn empty() -> Archive {
    Archive { bytes: Vec::new(), inode: 0, folders: BTreeSet::new() }
}

/// (path, mode, content) of each entry.
fn read_back(archive: Archive) -> Vec<(String, u32, Vec<u8>)> {
    let bytes = archive.finish().unwrap();
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    loop {
        let reader = cpio::newc::Reader::new(rest).unwrap();
        if reader.entry().is_trailer() {
            return found;
        }
        let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
        let mut content = Vec::new();
        rest = reader.to_writer(&mut content).unwrap();
        found.push((name, mode, content));
    }
}

#[test]
fn folders_come_before_what_is_in_them_and_once() {
    let mut archive = empty();
    archive.file("a/b/one", 0o644, b"1").unwrap();
    archive.file("a/b/two", 0o755, b"22222").unwrap();
    let names: Vec<_> = read_back(archive).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two"]);
}

#[test]
fn modes_and_contents_survive() {
    let mut archive = empty();
    archive.file("tool", 0o755, b"12345").unwrap();
    archive.link("name", "tool").unwrap();
    let entries = read_back(archive);
    assert_eq!(entries[0], ("tool".to_owned(), 0o100_755, b"12345".to_vec()));
    assert_eq!(entries[1], ("name".to_owned(), 0o120_777, b"tool".to_vec()));
}

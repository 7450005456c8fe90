//! Tests of records: a check must find each kind of loss.

use super::*;

const TOLD: u64 = 100;

/// A folder with records, of which the last one was told.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let enough = |n| if n < TOLD { Ok(()) } else { Err(io::Error::other("enough")) };
    let error = write(&folder.path().join("records"), enough).unwrap_err();
    assert_eq!(error.to_string(), "enough");
    folder
}

/// What a check says after `change` of a file.
fn after(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<u64> {
    let folder = written();
    let path = folder.path().join("records").join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    check(&folder.path().join("records"), TOLD)
}

#[test]
fn what_was_told_is_there_and_writing_begins_anew() {
    let folder = written();
    let records = folder.path().join("records");
    assert_eq!(check(&records, TOLD).unwrap(), TOLD);
    // Less was heard than was told.
    assert_eq!(check(&records, TOLD - 3).unwrap(), TOLD);
    assert!(check(&records, TOLD + 1).is_err());
    write(&records, |_| Err(io::Error::other("enough"))).unwrap_err();
    assert_eq!(check(&records, 1).unwrap(), 1);
}

#[test]
fn a_byte_that_is_lost_is_found_wherever_it_was() {
    let old = |bytes: &mut Vec<u8>, at: usize| bytes[at] ^= 0x80;
    assert!(after("log", |bytes| old(bytes, 50 * LOGGED)).is_err());
    assert!(after("log", |bytes| bytes.truncate(99 * LOGGED)).is_err());
    // The slots of records 90 and 38.
    assert!(after("ring", |bytes| old(bytes, 90 % 64 * SLOT + 17)).is_err());
    assert!(after("ring", |bytes| old(bytes, 38 * SLOT)).is_err());
    assert!(after("ring", |bytes| bytes.truncate(SLOT)).is_err());
    assert!(after("file-0", |bytes| old(bytes, WHOLE - 1)).is_err());
    assert!(after("file-3", Vec::clear).is_err());
}

#[test]
fn what_was_under_way_may_be_there_or_not() {
    // The slot of the record after the last.
    assert!(after("ring", |bytes| bytes[101 % 64 * SLOT] ^= 1).is_ok());
    assert!(after("log", |bytes| bytes.extend([7; 100])).is_ok());
}

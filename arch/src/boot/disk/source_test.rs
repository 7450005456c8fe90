//! How far a region reaches, and how long one may read.

use super::*;

#[test]
fn a_region_ends_where_it_was_said_to_and_where_the_disk_does() {
    let bytes: Vec<u8> = (0..100).collect();
    let budget = Budget::default();
    let whole = Region::whole(&bytes, 100, &budget);
    let part = whole.part(90, 5).unwrap();
    assert_eq!(part.bytes(1, 4).unwrap(), [91, 92, 93, 94]);
    assert!(matches!(part.bytes(1, 5), Err(ReadError::Beyond)));
    assert!(matches!(part.bytes(u64::MAX, 1), Err(ReadError::Beyond)));
    assert!(matches!(part.bytes(0, usize::MAX), Err(ReadError::Beyond)));
    assert_eq!(whole.part(90, 50).unwrap().len(), 10);
    assert!(whole.part(100, 1).is_none() && whole.part(u64::MAX, 1).is_none());
    assert_eq!(part.place(2, 3).unwrap(), 92);
}

#[test]
fn a_disk_that_is_shorter_than_it_said_is_an_error_of_the_host() {
    let bytes = vec![0u8; 10];
    let budget = Budget::default();
    let whole = Region::whole(&bytes, 100, &budget);
    assert!(matches!(whole.bytes(8, 4), Err(ReadError::Host(_))));
}

#[test]
fn reading_comes_to_an_end() {
    let bytes = vec![0u8; 10];
    let budget = Budget(Cell::new(3));
    let whole = Region::whole(&bytes, 10, &budget);
    for _ in 0..3 {
        whole.bytes(0, 1).unwrap();
    }
    assert!(matches!(whole.bytes(0, 1), Err(ReadError::Endless)));
}

#[test]
fn files_are_read_where_they_are_asked_to() {
    let file = crate::boot::samples::file(b"0123456789");
    assert_eq!(file.size().unwrap(), 10);
    let mut bytes = [0; 3];
    ReadAt::read_at(&file, 4, &mut bytes).unwrap();
    assert_eq!(&bytes, b"456");
    assert!(ReadAt::read_at(&file, 8, &mut bytes).is_err());
}

//! Tests of the indirection table.

use super::*;

#[test]
fn a_hash_takes_the_entry_of_its_low_bits() {
    let table = Table::new((0..128).map(|entry| entry % 4).collect(), 4).unwrap();
    assert_eq!(table.bucket(0xffff_ff85), 5);
    assert_eq!(table.lane(Some(0xffff_ff85)), 1);
    assert_eq!(table.lane(None), 0);
    let table = Table::with_unhashed(vec![1; 8], 3, 4).unwrap();
    assert_eq!((table.lane(Some(0)), table.lane(None)), (1, 3));
}

#[test]
fn tables_of_odd_sizes_and_entries_without_a_lane_are_refused() {
    for size in [0, 3, 127, 1024] {
        assert_eq!(Table::new(vec![0; size], 1), Err(TableError::Size(size)));
        assert!(Table::spread(size, 1).is_err());
    }
    for size in [1, 2, 128, 512] {
        assert_eq!(Table::spread(size, 3).unwrap().entries().len(), size);
    }
    let missing = TableError::NoSuchLane { entry: 4, lanes: 4 };
    assert_eq!(Table::new(vec![0, 4], 4), Err(missing));
    assert_eq!(Table::with_unhashed(vec![0, 3], 4, 4), Err(missing));
}

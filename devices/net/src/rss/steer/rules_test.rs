//! Tests of how rules are laid out.

use super::super::super::tests::MICROSOFT;
use super::super::super::{Rss, Selection, Table};
use super::*;

#[test]
fn fields_follow_each_other_in_the_input() {
    let rows = |protocol, fields| selector(protocol, fields);
    let row = |n: u32| n * 1024;
    let all = Fields::ADDRESSES | Fields::PORTS;
    assert_eq!(rows(Protocol::Tcp4, all), [0, row(4), row(8), row(10), 1]);
    assert_eq!(rows(Protocol::Udp6, all), [0, row(16), row(32), row(34), 1]);
    assert_eq!(rows(Protocol::NotIp, Fields::MACS), [0, row(6), UNSELECTED, UNSELECTED, 1]);
    let some = Fields::L3_DESTINATION | Fields::L4_DESTINATION;
    assert_eq!(rows(Protocol::Tcp4, some), [UNSELECTED, 0, UNSELECTED, row(4), 1]);
    assert_eq!(rows(Protocol::Ip4, Fields::empty())[4], 0);
}

#[test]
fn a_set_holds_all_that_a_guest_set() {
    let table = Table::with_unhashed(vec![3; 128], 2, 4).unwrap();
    let hasher = Hasher::new(Rss { key: MICROSOFT, initial: 7, fields: Selection::all(), table });
    let rules = Rules::of(&hasher);
    let word = |at: usize| rules.words()[at / 4];
    assert_eq!((word(INITIAL), word(MASK), word(UNHASHED)), (7, 127, 2));
    assert_eq!((word(BUCKETS), word(BUCKETS + 127 * 4), word(BUCKETS + 128 * 4)), (3, 3, 0));
    assert_eq!(word(ROWS + 128 * 4), 0x6d5a_56da, "the first bit hashes to the key's start");
    assert_eq!(rules.words().len() * 4, SET);
    assert_eq!(offset(1) + SET, BYTES);
}

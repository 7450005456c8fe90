//! The map of an overlay against a plain list of bits, and what its lanes tell each other.

use proptest::prelude::*;

use super::*;
use crate::image::header::CLUSTER;

/// Clusters of two pages and a bit.
const MANY: u64 = 2 * BITS * WORDS as u64 + 70;

fn map() -> Map {
    Map::new(MANY * CLUSTER, false)
}

#[test]
fn a_claim_takes_what_is_free_from_the_first_on_and_no_more() {
    let map = map();
    assert_eq!(map.claim(0, &(100..300)), Some(200));
    assert_eq!(map.claim(1, &(0..200)), Some(100), "up to the other's");
    assert_eq!(map.claim(1, &(150..160)), None);
    map.let_go(&(0..100));
    assert_eq!(map.claim(2, &(0..1)), Some(1), "what was let go of");
    map.add(&(100..200));
    map.let_go(&(100..300));
    assert_eq!(map.claim(0, &(100..300)), Some(0), "the overlay has it");
    assert_eq!(map.claim(0, &(200..300)), Some(100), "and nobody claims it");
    assert_eq!(map.claim(3, &(150..250)), Some(0));
    assert_eq!(map.claim(3, &(199..201)), Some(0), "the second is another's");
}

#[test]
fn who_waits_is_told_once() {
    let map = map();
    assert_eq!(map.take_waiting(), 0);
    assert_eq!(map.claim(0, &(7..8)), Some(1));
    assert_eq!(map.claim(65, &(7..8)), None);
    assert!(map.claim_flush(0) && !map.claim_flush(2));
    assert_eq!(map.take_waiting(), 0, "nothing was let go of");
    map.let_go(&(7..8));
    let waiting = map.take_waiting();
    assert!(is_of(waiting, 1) && is_of(waiting, 65) && is_of(waiting, 2) && !is_of(waiting, 0));
    assert_eq!(map.take_waiting(), 0);
}

#[test]
fn a_flush_keeps_what_was_there_when_it_began() {
    let map = map();
    let far = MANY - 1;
    map.add(&(3..5));
    map.add(&(far..far + 1));
    assert!(map.is_changed() && !map.is_kept(&(3..5)));
    let number = map.next_flush();
    assert!(map.claim_flush_now());
    assert!(map.begin_flush(true));
    map.add(&(5..6));
    assert_eq!(map.next_flush(), number + 1, "a later one has what came later");
    assert_eq!(map.unwritten(16), Some(0..1));
    let words: Vec<_> = map.page_words(&(0..1)).collect();
    assert_eq!(u64::from_le_bytes(words[0]), 0b11000);
    assert_eq!(words.len(), WORDS);
    map.wrote(&(0..1));
    assert_eq!(map.unwritten(16), Some(2..3));
    assert_eq!(map.page_words(&(2..3)).count(), WORDS, "whole pages, though the disk ends before");
    map.wrote(&(2..3));
    assert_eq!(map.unwritten(16), None);
    assert!(!map.is_kept(&(3..5)), "not before it has ended");
    map.end_flush(false);
    assert!(map.is_kept(&(3..5)) && !map.is_kept(&(3..6)));
    assert!(map.is_flushed(number) && !map.is_flushed(number + 1));
    assert!(map.is_changed(), "what came meanwhile is left");
}

#[test]
fn a_flush_that_failed_counts_for_nothing() {
    let map = map();
    map.add(&(3..5));
    let number = map.next_flush();
    assert!(map.claim_flush_now());
    assert!(!map.begin_flush(false), "there is something new that it would not write");
    assert!(map.begin_flush(true) && map.begin_flush(false));
    map.end_flush(true);
    assert!(!map.is_flushed(number));
    assert!(map.claim_flush_now(), "it is let go of");
}

#[test]
fn what_a_page_has_behind_the_end_of_the_disk_is_refused() {
    let map = map();
    let mut page = [0; PAGE as usize];
    page[0] = 0b101;
    assert!(map.load(0, &page));
    assert_eq!(map.run(0..9), (true, 1));
    assert_eq!(map.count(), 2);
    assert!(map.is_kept(&(0..1)) && !map.is_changed());
    // The last page has 70 bits.
    assert!(map.load(2, &page));
    (page[0], page[8]) = (0, 0b111111);
    assert!(map.load(2, &page), "the last that there is");
    page[8] = 0b1111111;
    assert!(!map.load(2, &page), "the first that is not");
    page[8] = 0;
    page[4095] = 0x80;
    assert!(!map.load(2, &page));
}

fn range() -> impl Strategy<Value = Range<u64>> {
    (0..MANY, 1u64..300).prop_map(|(first, len)| first..(first + len).min(MANY))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_list_of_bits(steps in prop::collection::vec((0..4u8, range()), 1..80)) {
        let (map, mut has, mut claimed) = (map(), vec![false; MANY as usize], vec![false; MANY as usize]);
        let slice = |range: &Range<u64>| range.start as usize..range.end as usize;
        for (kind, range) in steps {
            match kind {
                0 => {
                    map.add(&range);
                    has[slice(&range)].fill(true);
                }
                1 => {
                    let free = |at: &usize| !claimed[*at];
                    let taken = slice(&range).take_while(free).count();
                    let bits = range.start as usize..range.start as usize + taken;
                    let new = bits.clone().take_while(|at| !has[*at]).count();
                    let wanted = (taken > 0).then_some(new as u64);
                    prop_assert_eq!(map.claim(0, &range), wanted);
                    claimed[bits.start..bits.start + new].fill(true);
                }
                2 => {
                    map.let_go(&range);
                    claimed[slice(&range)].fill(false);
                }
                _ => {
                    let first = has[range.start as usize];
                    let run = has[slice(&range)].iter().take_while(|bit| **bit == first).count();
                    prop_assert_eq!(map.run(range), (first, run as u64));
                }
            }
        }
        prop_assert_eq!(map.count(), has.iter().filter(|bit| **bit).count() as u64);
    }
}

//! Tests of the pages that were written to.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory::Span;
use crate::scatter::Scatter;
use crate::testing::ram_at;

/// Numbers of the pages of each region that were written to since it was asked last.
fn taken(ram: &Ram) -> Vec<Vec<usize>> {
    let pages = |words: Vec<u64>| {
        let pages = words.len() * BITS;
        (0..pages).filter(|page| words[page / BITS] >> (page % BITS) & 1 != 0).collect()
    };
    ram.iter().map(|region| pages(of(region).take())).collect()
}

#[test]
fn nothing_is_noted_before_it_begins_and_nothing_twice() {
    let ram = ram_at(&[(0, 0x10_0000)]);
    ram.write_obj(1u8, GuestAddress(0x3000)).unwrap();
    assert!(!is_on(&ram));
    assert_eq!(taken(&ram), [[0usize; 0]]);
    begin(&ram);
    assert!(is_on(&ram));
    ram.write_obj(1u8, GuestAddress(0x4fff)).unwrap();
    begin(&ram);
    assert_eq!(taken(&ram), [[4]]);
    assert_eq!(taken(&ram), [[0usize; 0]]);
}

#[test]
fn a_range_is_noted_with_its_first_and_its_last_page_whatever_words_it_crosses() {
    let pages = DirtyPages::with_len(300 * PAGE);
    pages.begin();
    let bits = |pages: &DirtyPages| pages.take().iter().map(|word| word.count_ones()).sum::<u32>();
    for (offset, len, wanted) in [
        (0, 0, 0),
        (0, 1, 1),
        (PAGE - 1, 2, 2),
        (63 * PAGE, 2 * PAGE, 2),
        (0, 300 * PAGE, 300),
        (1, 300 * PAGE, 300),
        (64 * PAGE, 64 * PAGE, 64),
        (65 * PAGE, 130 * PAGE + 1, 131),
        (299 * PAGE, usize::MAX, 1),
    ] {
        pages.mark_dirty(offset, len);
        let first = offset / PAGE;
        assert_eq!(pages.dirty_at(first * PAGE), len > 0, "{offset:#x} {len:#x}");
        assert!(first == 0 || !pages.dirty_at((first - 1) * PAGE));
        // What is noted behind the end is of the last word, and of no page.
        let noted = bits(&pages);
        assert!(
            noted == wanted || offset.saturating_add(len) > 300 * PAGE,
            "{offset:#x} {len:#x}: {noted}"
        );
        assert!(noted >= wanted);
    }
}

#[test]
fn each_way_to_write_to_memory_is_noted_and_none_to_read() {
    let ram = ram_at(&[(0, 0x1_0000), (0x10_0000, 0x1_0000)]);
    begin(&ram);
    let mut list = Scatter::new(ram.clone());
    list.push(0x2ff0, 0x20).unwrap();
    list.push(0x10_5000, 0x2000).unwrap();
    let span = Span::new(ram.clone(), 0x10_8000, 64);
    let crossing = Span::new(ram.clone(), 0x10_9ff8, 16);

    list.read_at(0, &mut [0; 64]);
    list.iovecs(0).for_each(drop);
    span.load::<2>(0).unwrap();
    ram.load::<u64>(GuestAddress(8), Ordering::Relaxed).unwrap();
    assert_eq!(taken(&ram), [[0usize; 0], [0; 0]]);

    assert!(list.write_at(0x18, &[1; 8]));
    assert_eq!(taken(&ram), [vec![3], vec![]]);
    assert!(list.write_at(0x1f, &[1; 2]));
    assert_eq!(taken(&ram), [vec![3], vec![5]]);
    list.wrote(0xf, 0x12);
    assert_eq!(taken(&ram), [vec![2, 3], vec![5]]);
    list.wrote(0x20, 0x1001);
    assert_eq!(taken(&ram), [vec![], vec![5, 6]]);
    list.advance(0x30);
    list.wrote(0, usize::MAX);
    assert_eq!(taken(&ram), [vec![], vec![5, 6]]);
    list.wrote(0, 0);
    assert_eq!(taken(&ram), [[0usize; 0], [0; 0]]);

    span.store(0, [1, 2]).unwrap();
    assert_eq!(taken(&ram), [vec![], vec![8]]);
    crossing.store(0, [1, 2]).unwrap();
    assert_eq!(taken(&ram), [vec![], vec![9, 10]]);
    assert_eq!(crate::random::fill(&list, 0x1000).unwrap(), 0x1000);
    assert_eq!(taken(&ram), [vec![], vec![5, 6]]);
}

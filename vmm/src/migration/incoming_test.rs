//! Tests of what a target takes from its source.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::*;
use crate::memory::{Pages, map, release};

const PAGES: u64 = 64;

fn ram() -> GuestRam {
    map(PAGES * PAGE as u64, Pages::Small).unwrap()
}

fn bytes(records: &[(Kind, u64, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    records.iter().for_each(|(kind, number, body)| words::put(&mut out, *kind, *number, body));
    out
}

fn page_of(ram: &Ram, page: u64) -> u8 {
    let mut bytes = [0; PAGE];
    whole::read(ram, page * PAGE as u64, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes[0]
}

#[test]
fn pages_come_to_their_places_and_may_become_zero_again() {
    let ram = ram();
    let of = |byte, pages: usize| vec![byte; pages * PAGE];
    let said = bytes(&[
        (Kind::Pages, 0, of(1, 2)),
        (Kind::Pages, PAGES - 1, of(2, 1)),
        (Kind::Zeroes, 1, PAGES.wrapping_sub(2).to_le_bytes().to_vec()),
        (Kind::Prepare, 0, vec![]),
    ]);
    let head = memory_until(&mut &said[..], &ram, &mut Vec::new()).unwrap();
    assert_eq!(head.kind, Kind::Prepare);
    assert_eq!([0, 1, PAGES - 2, PAGES - 1].map(|page| page_of(&ram, page)), [1, 0, 0, 2]);
    release(ram);
}

#[test]
fn what_is_outside_of_memory_is_refused_and_nothing_else_is_written() {
    let ram = ram();
    for (kind, number, body) in [
        (Kind::Pages, PAGES, vec![1; PAGE]),
        (Kind::Pages, PAGES - 1, vec![1; 2 * PAGE]),
        (Kind::Pages, u64::MAX, vec![1; PAGE]),
        (Kind::Pages, 0, vec![1; PAGE - 1]),
        (Kind::Pages, 0, vec![]),
        (Kind::Zeroes, 1, PAGES.to_le_bytes().to_vec()),
        (Kind::Zeroes, 0, u64::MAX.to_le_bytes().to_vec()),
        (Kind::Zeroes, 0, vec![1, 0]),
    ] {
        let said = bytes(&[(kind, number, body)]);
        let error = memory_until(&mut &said[..], &ram, &mut Vec::new()).unwrap_err();
        let line = crate::words::one_line(None, &error);
        assert!(line.contains("no memory"), "{kind:?} {number}: {line}");
    }
    assert!((0..PAGES).all(|page| page_of(&ram, page) == 0));
    release(ram);
}

#[test]
fn a_source_that_keeps_its_machine_says_why() {
    let error = unexpected(Kind::Stays, "pages", b"too\nfast");
    assert_eq!(error.to_string(), "the source keeps it: too fast");
}

#[test]
fn who_connects_and_sends_no_machine_is_told_nothing() {
    let (ours, its) = UnixStream::pair().unwrap();
    (&its).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let carrier = Carrier::new(OwnedFd::from(ours).into(), None, PATIENCE).unwrap();
    let error = Incoming::greet(carrier).unwrap_err();
    assert!(crate::words::one_line(None, &error).contains("no vmm"));
    let mut heard = Vec::new();
    // What was not read may make of the end a reset.
    let _ = (&its).read_to_end(&mut heard);
    assert!(heard.is_empty());
}

/// What a source does to a page.
fn steps() -> impl Strategy<Value = Vec<(u64, u64, u8)>> {
    proptest::collection::vec((0..PAGES, 1u64..8, 0u8..3), 0..40)
}

proptest! {
    /// Against a plain model.
    #[test]
    fn memory_is_what_was_said_last_of_each_page(steps in steps()) {
        let (ram, mut model) = (ram(), vec![0; PAGES as usize]);
        let mut records = Vec::new();
        for (first, count, byte) in steps {
            let count = count.min(PAGES - first);
            model[first as usize..(first + count) as usize].fill(byte);
            records.push(match byte {
                0 => (Kind::Zeroes, first, count.to_le_bytes().to_vec()),
                _ => (Kind::Pages, first, vec![byte; count as usize * PAGE]),
            });
        }
        records.push((Kind::Prepare, 0, vec![]));
        memory_until(&mut &bytes(&records)[..], &ram, &mut Vec::new()).unwrap();
        let found: Vec<_> = (0..PAGES).map(|page| page_of(&ram, page)).collect();
        release(ram);
        prop_assert_eq!(found, model);
    }

    #[test]
    fn whatever_comes_ends_in_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut said = words::greeting().to_vec();
        said.extend(bytes);
        for line in crate::migration::by_hand::receive(&said) {
            prop_assert!(!line.trim().is_empty() && !line.contains('\n'));
        }
    }
}

//! Tests of what goes over the connection.

use proptest::prelude::*;

use super::*;

fn record(kind: Kind, number: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind, number, body);
    out
}

fn read_all(bytes: &[u8]) -> Result<(Head, Vec<u8>), WireError> {
    let mut body = Vec::new();
    read(&mut &*bytes, &mut body).map(|head| (head, body))
}

#[test]
fn a_greeting_is_ours_and_of_this_version_or_refused_by_name() {
    let mut bytes = greeting();
    read_greeting(&mut &bytes[..]).unwrap();
    bytes[8] = 2;
    let newer = read_greeting(&mut &bytes[..]).unwrap_err().to_string();
    assert!(newer.contains("version 2") && newer.contains("version 1"), "{newer}");
    assert!(matches!(read_greeting(&mut &b"GET / HTTP/1.1\r\n"[..]), Err(WireError::NotOurs)));
    assert!(matches!(read_greeting(&mut &b"vmm-"[..]), Err(WireError::Ended)));
}

#[test]
fn a_length_is_looked_at_before_there_is_room_for_it() {
    for (kind, most) in [(Kind::Pages, MOST_PAGES * PAGE), (Kind::Prepare, 0), (Kind::Zeroes, 8)] {
        let mut bytes = record(kind, 0, &[]);
        bytes[4..8].copy_from_slice(&(most as u32 + 1).to_le_bytes());
        assert!(matches!(read_all(&bytes), Err(WireError::TooLong { .. })), "{kind:?}");
    }
    let mut bytes = record(Kind::Hello, 0, &[]);
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read_all(&bytes), Err(WireError::TooLong { .. })));
    bytes[0] = 99;
    assert!(matches!(read_all(&bytes), Err(WireError::Unknown(99))));
}

#[test]
fn words_of_the_other_end_are_one_line() {
    assert_eq!(words(b"a\nb\x1b[0m\xff"), "a b [0m\u{fffd}");
}

fn kinds() -> impl Strategy<Value = Kind> {
    proptest::sample::select(Kind::ALL.map(|(_, kind, _)| kind).to_vec())
}

proptest! {
    #[test]
    fn records_arrive_as_they_were_sent(
        kind in kinds(), number: u64, body in proptest::collection::vec(any::<u8>(), 0..4096),
    ) {
        let most = Kind::ALL.iter().find(|(_, known, _)| *known == kind).unwrap().2;
        let body = &body[..body.len().min(most)];
        let (head, told) = read_all(&record(kind, number, body)).unwrap();
        prop_assert_eq!((head.kind, head.number, &told[..]), (kind, number, body));
    }

    #[test]
    fn no_changed_byte_goes_unseen(at in 0usize..20, bit in 0u32..8, body: [u8; 8]) {
        let mut bytes = record(Kind::Zeroes, 7, &body);
        bytes[at] ^= 1 << bit;
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn whatever_comes_is_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        let _ = read_greeting(&mut &bytes[..]);
    }
}

//! Headers of overlays: as they are written, and as somebody else may have written them.

use proptest::prelude::*;

use super::*;

const BASE: Identity = Identity { size: 1 << 30, modified: 1_700_000_000_123_456_789 };

/// A good header with `bytes` at `at`.
fn with(at: usize, bytes: &[u8]) -> [u8; PAGE as usize] {
    let mut page = Header::new(3 << 30, BASE).to_page();
    page[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(page)
}

#[test]
fn what_is_written_is_read_and_lies_as_the_first_version_has_it() {
    for size in [512, CLUSTER, CLUSTER + 512, 3 << 30, MOST_SIZE] {
        let header = Header::new(size, BASE);
        assert_eq!(Header::of_page(&header.to_page()), Ok(header));
        assert!(header.data >= PAGE + map_bytes(size) && header.data.is_multiple_of(CLUSTER));
    }
    let page = Header::new(3 << 30, BASE).to_page();
    assert_eq!(page[..8], *b"\xd6vmm-cow");
    assert_eq!(page[8..12], [1, 0, 0, 0]);
    assert_eq!(page[16..24], [0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(page[24..32], (3u64 << 30).to_le_bytes());
    assert_eq!(page[32..40], (64u64 << 10).to_le_bytes());
    assert_eq!(page[48..56], BASE.modified.to_le_bytes());
    assert_eq!(page[56..], [0; PAGE as usize - 56]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let page = |at, bytes: &[u8]| Header::of_page(&with(at, bytes));
    assert_eq!(page(0, b"QFI\xfb"), Err(HeaderError::NoOverlay));
    assert_eq!(page(8, &2u32.to_le_bytes()), Err(HeaderError::Newer(2)));
    let mut flipped = Header::new(3 << 30, BASE).to_page();
    flipped[1000] ^= 1;
    assert_eq!(Header::of_page(&flipped), Err(HeaderError::Checksum));
    for (at, value, what) in [
        (16, 4096u64, "clusters"),
        (20, 1, "flags"),
        (24, 0, "size"),
        (24, 513, "size"),
        (24, MOST_SIZE + 512, "size"),
        (24, u64::MAX, "size"),
        (32, PAGE, "data's place"),
        (32, CLUSTER - 512, "data's place"),
        (32, MOST_OFFSET + CLUSTER, "data's place"),
        (32, u64::MAX, "data's place"),
    ] {
        let bytes = value.to_le_bytes();
        let len = if at < 24 { 4 } else { 8 };
        assert_eq!(page(at, &bytes[..len]), Err(HeaderError::Absurd(what)), "{value} at {at}");
    }
}

proptest! {
    #[test]
    fn whatever_a_header_says_it_is_bounded(bytes in prop::collection::vec(any::<u8>(), 56)) {
        let mut page = with(0, &bytes);
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&1u32.to_le_bytes());
        page[16..24].copy_from_slice(&[0, 0, 1, 0, 0, 0, 0, 0]);
        if let Ok(header) = Header::of_page(&sealed(page)) {
            prop_assert!(header.size <= MOST_SIZE && header.data <= MOST_OFFSET);
            prop_assert!(PAGE + map_bytes(header.size) <= header.data);
            prop_assert_eq!(Header::of_page(&header.to_page()), Ok(header));
        }
    }
}

//! Tests of the vnet header.

use super::*;
use proptest::prelude::*;

#[test]
fn a_header_of_a_large_tcp_frame_reads_as_linux_writes_it() {
    let header = [1, 0x81, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
    let meta = decode(&header, 60_000).unwrap();
    assert_eq!(meta.csum, Csum::Needed { start: 34, offset: 16 });
    let gso = Gso { kind: GsoKind::Tcp4, ecn: true, segment: 1448, headers: 66 };
    assert_eq!(meta.gso, Some(gso));
    assert_eq!(encode(&meta, 3), [1, 0x81, 66, 0, 0xa8, 5, 34, 0, 16, 0, 3, 0]);
}

#[test]
fn a_checksum_may_end_with_the_frame_and_no_later() {
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
    assert!(decode(&header, 42).is_ok());
    assert_eq!(decode(&header, 41), Err(BadHeader::CsumOutside));
    let far = [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(decode(&far, 1500), Err(BadHeader::CsumOutside));
}

#[test]
fn impossible_segmentation_is_refused() {
    assert_eq!(decode(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 100), Err(BadHeader::EmptySegment));
    for kind in [2, 3, 6, 0x7f] {
        let header = [0, kind, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(&header, 100), Err(BadHeader::UnknownGso), "{kind}");
    }
}

proptest! {
    #[test]
    fn any_header_is_refused_or_means_what_it_says(header: [u8; LEN], len in 0usize..70_000) {
        let Ok(meta) = decode(&header, len) else { return Ok(()) };
        if let Csum::Needed { start, offset } = meta.csum {
            prop_assert!(usize::from(start) + usize::from(offset) + 2 <= len);
        }
        if let Some(gso) = meta.gso {
            prop_assert!(gso.segment > 0 && usize::from(gso.headers) <= len.max(65_535));
        }
        prop_assert_eq!(decode(&encode(&meta, 1), len), Ok(meta));
    }
}

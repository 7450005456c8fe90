//! Tests of what is done on frames that the guest does not take as they are.

use super::*;
use crate::frame::{Gso, GsoKind};
use crate::wire::testing::{Build, frame};

#[test]
fn a_completed_checksum_is_the_one_that_an_independent_builder_makes() {
    for udp in [false, true] {
        let right = frame(&Build { udp, payload: 1001, ..Build::default() });
        let (start, offset) = (34u16, if udp { 6u16 } else { 16 });
        let mut bytes = right.clone();
        // The sum of the pseudo header, as kernels leave it.
        let mut sum = Sum::default();
        sum.add(&right[26..34]);
        sum.add_number(right[23].into());
        sum.add_number((right.len() - 34) as u16);
        let at = usize::from(start + offset);
        bytes[at..at + 2].copy_from_slice(&sum.value().to_be_bytes());
        let mut meta = FrameMeta { csum: Csum::Needed { start, offset }, ..FrameMeta::default() };
        complete(&mut meta, &mut bytes);
        assert!(bytes == right, "udp {udp}");
        assert_eq!(meta, FrameMeta::default());
    }
}

#[test]
fn a_checksum_beyond_the_frame_harms_nothing() {
    let mut meta =
        FrameMeta { csum: Csum::Needed { start: 60, offset: 9 }, ..FrameMeta::default() };
    let mut bytes = [7; 64];
    complete(&mut meta, &mut bytes);
    assert_eq!((bytes, meta.csum), ([7; 64], Csum::Unknown));
}

#[test]
fn a_tag_moves_what_is_known_of_what_comes_behind_it() {
    let gso = Gso { kind: GsoKind::Tcp4, ecn: true, segment: 1448, headers: 54 };
    let meta =
        FrameMeta { csum: Csum::Needed { start: 34, offset: 16 }, gso: Some(gso), hash: None };
    let moved = shifted(meta, 4);
    assert_eq!(moved.csum, Csum::Needed { start: 38, offset: 16 });
    assert_eq!(moved.gso, Some(Gso { headers: 58, ..gso }));
    let unknown = FrameMeta { gso: Some(Gso { headers: 0, ..gso }), ..meta };
    assert_eq!(shifted(unknown, 4).gso.unwrap().headers, 0);
    assert_eq!(shifted(FrameMeta::default(), 4), FrameMeta::default());
}

#[test]
fn two_pieces_fill_the_head_first() {
    let bytes: Vec<u8> = (0..=255).collect();
    for cut in [0, 1, 54, HEAD - 1, HEAD, HEAD + 1, 200] {
        for len in [cut, cut + 1, 256] {
            let len = len.min(256);
            let [head, body] = split(&bytes[..cut.min(len)], &bytes[cut.min(len)..len]);
            assert_eq!(head.concat(), bytes[..len.min(HEAD)], "{cut} {len}");
            assert_eq!(body.concat(), bytes[len.min(HEAD)..len], "{cut} {len}");
        }
    }
}

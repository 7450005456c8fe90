//! Tests of the Internet checksum.

use proptest::prelude::*;

use super::*;

/// Word by word, as RFC 1071 says it.
fn slow(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0u32, |sum, pair| {
        let word = u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    sum as u16
}

#[test]
fn the_example_of_rfc_1071_sums_up() {
    let mut sum = Sum::default();
    sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!(sum.value(), 0xddf2);
    assert_eq!(sum.checksum(), 0x220d);
}

#[test]
fn a_checksum_of_zero_is_stored_as_its_other_form() {
    let mut sum = Sum::default();
    sum.add_number(0xffff);
    assert_eq!(sum.checksum(), 0xffff);
    assert!(sum.is_right());
}

proptest! {
    #[test]
    fn pieces_of_any_length_sum_as_the_whole(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut sum = Sum::default();
        for cut in cuts.windows(2) {
            sum.add(&bytes[cut[0]..cut[1]]);
        }
        prop_assert_eq!(sum.value(), slow(&bytes));
    }
}

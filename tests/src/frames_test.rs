//! Tests of frames as text.

use super::*;

#[test]
fn a_frame_is_read_with_and_without_colons_and_filled_up() {
    assert_eq!(bytes("02:00:ff").unwrap(), [2, 0, 0xff]);
    assert_eq!(bytes("0200ff/5").unwrap(), [2, 0, 0xff, FILLER, FILLER]);
    assert_eq!(bytes("0200ff/2").unwrap(), [2, 0, 0xff]);
    assert_eq!(digits(&bytes("0a0b/3").unwrap()), "0a0b5a");
    for wrong in ["0g", "02/", "02/x"] {
        assert!(bytes(wrong).is_err(), "{wrong}");
    }
}

//! Tests of what is read of interfaces.

use super::*;

#[test]
fn frames_are_read_from_the_line_of_the_tap() {
    let text = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
        lo:       0       1    0    0    0     0          0         0        0       1    0    0\n  \
        tap0:     120       2    0    0    0     0          0         0      180       3    0    4\n \
        tap01:      9       9    9    9    9     9          9         9        9       9    9\n";
    assert_eq!(passed(text), Some(Passed { out: 2, into: 3, lost: 4 }));
    assert_eq!(passed("nothing"), None);
}

#[test]
fn a_frame_goes_to_the_guest() {
    let frame = frame(60);
    assert_eq!((frame.len(), &frame[..6], &frame[12..14]), (60, MAC.as_slice(), &[0x88, 0xb5][..]));
}

//! Tests of what is read of interfaces.

use super::*;

#[test]
fn frames_are_read_from_the_line_of_the_tap() {
    let text = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
        lo:       0       1    0    0    0     0          0         0        0       1    0    0\n  \
        tap0:     120       2    0    0    0     0          0         0      180       3    0    4\n \
        tap01:      9       9    9    9    9     9          9         9        9       9    9\n";
    assert_eq!(passed(text, TAP), Some(Passed { out: 2, into: 3, lost: 4 }));
    assert_eq!(passed("nothing", TAP), None);
}

#[test]
fn a_frame_goes_to_the_guest() {
    let frame = frame(60);
    assert_eq!((frame.len(), &frame[..6], &frame[12..14]), (60, MAC.as_slice(), &[0x88, 0xb5][..]));
}

#[test]
fn flows_differ_in_their_ports_alone() {
    let (one, other) = (frame_of_flow(60, 0), frame_of_flow(60, 1));
    assert_eq!((one.len(), &one[..12]), (60, &frame(60)[..12]));
    assert_eq!((&one[..34], &one[36..]), (&other[..34], &other[36..]));
    assert_eq!((&one[34..36], &other[34..36]), (&[39, 16][..], &[39, 17][..]));
    // Its header sums up to nothing (RFC 1071).
    let sum: u32 =
        one[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    assert_eq!(frame_of_flow(41, 1), frame(41));
}

#[test]
fn frames_count_the_way_that_a_load_has() {
    let before = Passed { out: 5, into: 7, lost: 0 };
    let after = Passed { out: 15, into: 27, lost: 9 };
    let counts = [Load::Send, Load::Receive, Load::Both].map(|load| after.since(&before, load));
    assert_eq!(counts, [10, 20, 30]);
}

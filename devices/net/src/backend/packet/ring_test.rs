//! Tests of the ring's measures. What is in it is tested with the kernel that fills it (tests/packet.rs).

use super::*;

#[test]
fn a_slot_holds_a_frame_of_the_mtu_and_no_ring_is_larger_than_another() {
    for (mtu, len) in
        [(68, 2048), (1500, 2048), (1902, 2048), (1903, 4096), (9001, 16384), (65_535, 16384)]
    {
        assert_eq!(slot_len(mtu), len, "{mtu}");
        assert_eq!((RING % BLOCK, BLOCK % slot_len(mtu)), (0, 0));
    }
    assert_eq!(slot_len(usize::MAX), 16384);
}

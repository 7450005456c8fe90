//! Tests of descriptors against words that drivers write (specification 7.13).

use super::*;

#[test]
fn a_data_descriptor_of_a_small_frame_reads_as_its_driver_meant() {
    let descriptor = TxDescriptor([0x1D00_003C, 0x0140_0000, 0x1234_5000, 0x3C00_0000]);
    assert_eq!((descriptor.address(), descriptor.len()), (0x1234_5000, 60));
    assert!(descriptor.phase() && descriptor.is_first() && descriptor.is_last());
    assert!(!descriptor.is_meta());
    let control = Control::of(descriptor);
    assert_eq!((control.id, control.completion, control.header_len), (5, true, 60));
    assert!(!control.has_offload());
}

#[test]
fn a_meta_descriptor_reads_as_its_driver_meant() {
    let descriptor = TxDescriptor([0x05B1_4000, 0, 0x6A08_0E14, 0]);
    assert!(descriptor.is_meta() && descriptor.is_first() && !descriptor.is_last());
    let meta = Meta { mss: 1448, l3_at: 14, l3_len: 20, l4_words: 8 };
    assert_eq!(MetaUse::of(descriptor), MetaUse::Given { meta, store: true });
}

#[test]
fn a_segmented_packet_reads_as_its_driver_meant() {
    let descriptor = TxDescriptor([0x1100_0042, 0x01C0_6C98, 0, 0]);
    assert_eq!(descriptor.len(), 66);
    assert!(!descriptor.is_first() && !descriptor.is_last());
    let control = Control::of(descriptor);
    assert_eq!((control.id, control.l3(), control.l4()), (7, L3_IPV4, L4_TCP));
    assert!(control.segmentation() && control.l4_checksum() && control.l3_checksum());
    assert!(!control.l4_partial());
}

#[test]
fn a_partial_checksum_reads_as_its_driver_meant() {
    let control = Control::of(TxDescriptor([0, 0x0002_4C18, 0, 0]));
    assert_eq!((control.id, control.l3(), control.l4()), (0, L3_IPV4, L4_TCP));
    assert!(control.l4_checksum() && control.l4_partial());
    assert!(!control.segmentation() && !control.l3_checksum());
}

#[test]
fn every_request_id_is_put_together_of_its_two_parts() {
    for id in [0, 1, 0x3ff, 0x400, 0x8001, 0xffff_u32] {
        let words = [id >> 10 << 16, id << 22, 0, 0];
        assert_eq!(u32::from(Control::of(TxDescriptor(words)).id), id);
    }
}

#[test]
fn a_receive_buffer_of_length_0_is_one_of_64_kib() {
    let descriptor = RxDescriptor([0x1D00_0000, 0xffff_0007, 0x1000, 0xffff_0002]);
    assert_eq!(descriptor.len(), 0x1_0000);
    assert_eq!((descriptor.id(), descriptor.address()), (7, 0x2_0000_1000));
}

//! Tests of finding headers, on packets of an independent builder.

use etherparse::{IpFragOffset, Ipv6Extensions, Ipv6FragmentHeader, Ipv6RawExtHeader};
use proptest::prelude::*;

use super::*;
use crate::wire::testing::{Build, frame};

fn found(build: Build) -> Layers {
    Layers::of(&frame(&build))
}

#[test]
fn tcp_and_udp_are_found_behind_either_network_header_and_any_tags() {
    for tags in [0, 1, 2] {
        for (v6, l3) in [(false, L3::Ipv4), (true, L3::Ipv6)] {
            for (udp, l4) in [(false, L4::Tcp), (true, L4::Udp)] {
                let layers = found(Build { tags, v6, udp, payload: 100, ..Build::default() });
                let l3_at = 14 + 4 * usize::from(tags);
                assert_eq!((layers.tags, layers.l3, layers.l3_at), (tags, Some(l3), l3_at));
                assert_eq!(layers.l4, Some(l4));
                assert_eq!(layers.l4_at, l3_at + if v6 { 40 } else { 20 });
                assert_eq!(layers.l4_len, 100 + l4.header_len());
                assert!(!layers.fragment);
            }
        }
    }
}

#[test]
fn options_and_extension_headers_are_stepped_over() {
    let options = found(Build { options: 12, ..Build::default() });
    assert_eq!((options.l4, options.l4_at), (Some(L4::Tcp), 14 + 32));
    let raw = Ipv6RawExtHeader::new_raw(0.into(), &[0; 14]).unwrap();
    let extensions = Ipv6Extensions {
        hop_by_hop_options: Some(raw.clone()),
        destination_options: Some(raw),
        ..Ipv6Extensions::default()
    };
    let extended = found(Build { v6: true, extensions, ..Build::default() });
    assert_eq!((extended.l4, extended.l4_at), (Some(L4::Tcp), 14 + 40 + 32));
}

#[test]
fn a_fragment_has_no_transport() {
    let v4 = found(Build { fragment: true, ..Build::default() });
    assert_eq!((v4.l3, v4.l4, v4.fragment), (Some(L3::Ipv4), None, true));
    let piece = Ipv6FragmentHeader::new(6.into(), IpFragOffset::ZERO, true, 7);
    let extensions = Ipv6Extensions { fragment: Some(piece), ..Ipv6Extensions::default() };
    let v6 = found(Build { v6: true, extensions, ..Build::default() });
    assert_eq!((v6.l3, v6.l4, v6.fragment), (Some(L3::Ipv6), None, true));
}

#[test]
fn what_is_not_ip_or_not_whole_is_taken_for_what_is_whole() {
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(Layers::of(&arp), Layers { l3_at: 14, ..Layers::default() });
    assert_eq!(Layers::of(&[0; 13]), Layers::default());
    let whole = frame(&Build::default());
    assert_eq!(Layers::of(&whole[..40]).l4, None);
    assert_eq!(Layers::of(&whole[..33]).l3, None);
    let mut lying = whole;
    lying[16..18].copy_from_slice(&[0, 30]); // shorter than its headers
    assert_eq!((Layers::of(&lying).l3, Layers::of(&lying).l4), (Some(L3::Ipv4), None));
}

#[test]
fn an_endless_chain_of_extension_headers_ends() {
    let mut chain = frame(&Build { v6: true, payload: 0, ..Build::default() });
    chain[20] = 0;
    chain.resize(14 + 40, 0);
    chain.extend([0; 64 * 8]);
    assert_eq!((Layers::of(&chain).l3, Layers::of(&chain).l4), (Some(L3::Ipv6), None));
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_what_is_found_lies_within(
        kind in prop_oneof![Just([8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), any::<[u8; 2]>()],
        mut bytes in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        if let Some(place) = bytes.get_mut(12..14) {
            place.copy_from_slice(&kind);
        }
        let layers = Layers::of(&bytes);
        prop_assert!(layers.l3.is_none() || layers.l3_at + 20 <= bytes.len());
        if let Some(l4) = layers.l4 {
            prop_assert!(layers.l4_at + l4.header_len() <= bytes.len());
            prop_assert!(layers.l4_len >= l4.header_len());
        }
    }
}

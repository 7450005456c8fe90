//! Tests of how frames are told apart.

use proptest::prelude::*;

use super::*;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const PORTS: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// Ethernet with the type, then `rest`.
fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
    [&MACS[..], &kind.to_be_bytes(), rest].concat()
}

fn v4(words: u8, fragment: u16, protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0; usize::from(words) * 4];
    header[0] = 0x40 | words;
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    header[9] = protocol;
    header[12..16].copy_from_slice(&[10, 0, 0, 1]);
    header[16..20].copy_from_slice(&[10, 0, 0, 2]);
    header.extend(rest);
    header
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 40];
    header[0] = 0x60;
    header[6] = next;
    header[8..24].copy_from_slice(&[0xfd; 16]);
    header[24..40].copy_from_slice(&[0xfe; 16]);
    header.extend(rest);
    header
}

fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0; 8 + 8 * usize::from(units)];
    header[..2].copy_from_slice(&[next, units]);
    header
}

fn kind(frame: &[u8]) -> Protocol {
    classify(frame).protocol
}

#[test]
fn every_kind_of_frame_is_told_by_its_headers() {
    use Protocol::*;
    let ip4 = |rest: &[u8]| ethernet(0x0800, rest);
    let ip6 = |rest: &[u8]| ethernet(0x86dd, rest);
    let behind = |count: usize, last: u8, units: u8| {
        let mut rest = Vec::new();
        for at in 1..=count {
            rest.extend(extension(if at == count { last } else { 60 }, units));
        }
        rest.extend(PORTS);
        ip6(&v6(0, &rest))
    };
    let cases: &[(&str, Vec<u8>, Protocol)] = &[
        ("TCP", ip4(&v4(5, 0, 6, &PORTS)), Tcp4),
        ("TCP, do not fragment", ip4(&v4(5, 0x4000, 6, &PORTS)), Tcp4),
        ("UDP behind options", ip4(&v4(15, 0, 17, &PORTS)), Udp4),
        ("ICMP", ip4(&v4(5, 0, 1, &PORTS)), Ip4),
        ("TCP cut off", ip4(&v4(5, 0, 6, &PORTS[..3])), Ip4),
        ("first fragment", ip4(&v4(5, 0x2000, 6, &PORTS)), Ip4Fragment),
        ("later fragment", ip4(&v4(5, 1, 17, &PORTS)), Ip4Fragment),
        ("header too short", ip4(&v4(5, 0, 6, &PORTS)[..19]), NotIp),
        ("header length too small", ip4(&[&[0x44][..], &v4(5, 0, 6, &PORTS)[1..]].concat()), NotIp),
        ("wrong version", ip4(&v6(6, &PORTS)), NotIp),
        ("wrong version 6", ip6(&v4(15, 0, 6, &PORTS)), NotIp),
        ("ARP", ethernet(0x0806, &[0; 28]), NotIp),
        ("IPv6 TCP", ip6(&v6(6, &PORTS)), Tcp6),
        ("IPv6 UDP", ip6(&v6(17, &PORTS)), Udp6),
        ("IPv6 UDP cut off", ip6(&v6(17, &PORTS[..2])), Ip6),
        ("ICMPv6", ip6(&v6(58, &PORTS)), Ip6),
        ("IPv6 too short", ip6(&v6(6, &PORTS)[..39]), NotIp),
        ("one extension", behind(1, 6, 0), Tcp6Extended),
        ("four extensions", behind(4, 17, 0), Udp6Extended),
        ("five extensions", behind(5, 6, 0), Ip6Extended),
        ("a long extension", behind(1, 6, 7), Tcp6Extended),
        ("ICMPv6 behind one", behind(1, 58, 0), Ip6Extended),
        ("IPv6 fragment", ip6(&v6(44, &extension(6, 0))), Ip6Extended),
        ("extension cut off", ip6(&v6(0, &[6])), Ip6Extended),
        ("authentication", ip6(&v6(51, &PORTS)), Ip6),
        ("nothing", vec![], NotIp),
        ("only addresses", MACS.to_vec(), NotIp),
    ];
    for (name, frame, expected) in cases {
        assert_eq!(kind(frame), *expected, "{name}");
    }
}

#[test]
fn up_to_two_tags_are_looked_behind() {
    let inner = [&[0x08, 0x00][..], &v4(5, 0, 6, &PORTS)].concat();
    let tagged = |tags: &[u16]| {
        let mut frame = MACS.to_vec();
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 7]);
        }
        frame.extend(&inner);
        kind(&frame)
    };
    assert_eq!(tagged(&[]), Protocol::Tcp4);
    assert_eq!(tagged(&[0x8100]), Protocol::Tcp4);
    assert_eq!(tagged(&[0x88a8, 0x8100]), Protocol::Tcp4);
    assert_eq!(tagged(&[0x8100, 0x8100, 0x8100]), Protocol::NotIp);
}

#[test]
fn what_can_be_hashed_comes_in_order() {
    let parts = |frame: &[u8]| {
        let flow = classify(frame);
        let parts = flow.parts().iter().flat_map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>();
        (flow.protocol, parts)
    };
    let tcp = ethernet(0x0800, &v4(5, 0, 6, &PORTS));
    let expected = vec![10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x56, 0x78];
    assert_eq!(parts(&tcp), (Protocol::Tcp4, expected));
    let udp = ethernet(0x86dd, &v6(17, &PORTS));
    let expected = [&[0xfd; 16][..], &[0xfe; 16], &PORTS].concat();
    assert_eq!(parts(&udp), (Protocol::Udp6, expected));
    let arp = ethernet(0x0806, &[0; 28]);
    let macs = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(parts(&arp), (Protocol::NotIp, macs), "source first, and no ports");
}

#[test]
fn a_selection_takes_only_fields_the_protocol_has() {
    let mut selection = Selection::all();
    for protocol in Protocol::ALL {
        assert!(!selection.of(protocol).is_empty());
        assert!(!selection.set(protocol, Fields::all()));
        assert!(selection.set(protocol, Fields::empty()));
    }
    assert_eq!(selection, Selection::NONE);
    assert!(!selection.set(Protocol::Ip4, Fields::PORTS));
    assert!(selection.set(Protocol::Tcp4, Fields::L3_SOURCE));
    assert_eq!(selection.of(Protocol::Tcp4), Fields::L3_SOURCE);
}

proptest! {
    #[test]
    fn any_bytes_are_classified_without_panic(
        frame in prop::collection::vec(any::<u8>(), 0..128),
        kind in prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x88a8]),
    ) {
        let mut frame = frame;
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&kind.to_be_bytes());
        }
        let flow = classify(&frame);
        let len: usize = flow.parts().iter().map(|(_, bytes)| bytes.len()).sum();
        prop_assert!(len <= crate::rss::toeplitz::MAX_INPUT);
        prop_assert!(flow.protocol.has_ports() || flow.ports == [0; 4]);
    }

    #[test]
    fn headers_found_before_lead_to_the_same_flow(
        tags in 0usize..4,
        six in any::<bool>(),
        first in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        fragment in prop_oneof![Just(0u16), Just(0x4000), any::<u16>()],
        next in prop_oneof![Just(6u8), Just(17), Just(0), Just(44), Just(60), any::<u8>()],
        behind in prop::sample::select(vec![6u8, 17, 60, 44, 1]),
        len in 0u16..200,
        cut in 0usize..140,
        noise in any::<[u8; 160]>(),
    ) {
        let mut frame = MACS.to_vec();
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 1]);
        }
        frame.extend(if six { [0x86, 0xdd] } else { [8, 0] });
        let at = frame.len();
        frame.extend(noise);
        frame[at] = first;
        if six {
            frame[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
            frame[at + 6] = next;
            frame[at + 40..at + 42].copy_from_slice(&[behind, 0]);
        } else {
            frame[at + 2..at + 4].copy_from_slice(&len.to_be_bytes());
            frame[at + 6..at + 8].copy_from_slice(&fragment.to_be_bytes());
            frame[at + 9] = next;
        }
        frame.truncate(cut);
        prop_assert_eq!(classify_found(&frame, &Layers::of(&frame)), classify(&frame));
    }
}

//! Tests of the exchange of addresses, on packets of an independent builder.

use std::net::Ipv6Addr;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, IcmpEchoHeader, Icmpv4Header};
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder};
use proptest::prelude::*;

use super::*;
use crate::wire::checksum::{Sum, pseudo_header};
use crate::wire::layers::{L3, L4, Layers};
use crate::wire::{be16, ipv4, put_be16};

const INSIDE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OUTSIDE: MacAddr = MacAddr([6, 0x11, 0x22, 0x33, 0x44, 0x55]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const IP_INSIDE: [u8; 4] = [10, 0, 0, 1];
const IP_OUTSIDE: [u8; 4] = [172, 31, 254, 77];
const IP_PEER: [u8; 4] = [192, 168, 77, 254];

fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// What is made of the inside, the outside and another Ethernet address.
fn link_local(which: MacAddr) -> [u8; 16] {
    v6(match which {
        INSIDE => "fe80::ff:fe00:1",
        OUTSIDE => "fe80::411:22ff:fe33:4455",
        _ => "fe80::ff:fe00:9",
    })
}

fn group(which: MacAddr) -> [u8; 16] {
    v6(if which == INSIDE { "ff02::1:ff00:1" } else { "ff02::1:ff33:4455" })
}

fn rewrite() -> Rewrite {
    Rewrite::new(
        Sides { inside: INSIDE, outside: OUTSIDE },
        Some(Sides { inside: IP_INSIDE.into(), outside: IP_OUTSIDE.into() }),
    )
}

/// What becomes of a frame whose checksums are all in it, and that it becomes what it was the second time.
fn swapped(frame: &[u8]) -> Vec<u8> {
    let mut other = frame.to_vec();
    rewrite().swap(&mut other, Csum::Unknown);
    let mut back = other.clone();
    rewrite().swap(&mut back, Csum::Valid);
    assert_eq!(back, frame, "there and back");
    other
}

/// Who a packet is from and to.
#[derive(Clone, Copy)]
struct Ends {
    mac: [MacAddr; 2],
    v4: [[u8; 4]; 2],
    v6: [[u8; 16]; 2],
}

const fn ends(from: MacAddr, ip: [u8; 4], to: MacAddr, to_ip: [u8; 4]) -> Ends {
    Ends { mac: [from, to], v4: [ip, to_ip], v6: [[0; 16]; 2] }
}

fn out() -> Ends {
    let mut out = ends(INSIDE, IP_INSIDE, PEER, IP_PEER);
    out.v6 = [link_local(INSIDE), link_local(PEER)];
    out
}

fn on_the_wire() -> Ends {
    let mut wire = ends(OUTSIDE, IP_OUTSIDE, PEER, IP_PEER);
    wire.v6 = [link_local(OUTSIDE), link_local(PEER)];
    wire
}

/// A packet that carries `payload`, with right checksums.
fn packet(ends: &Ends, is_v6: bool, udp: bool, tags: u8, payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(ends.mac[0].0, ends.mac[1].0);
    let ([from, to], [from6, to6]) = (ends.v4, ends.v6);
    let mut bytes = Vec::new();
    macro_rules! on {
        ($link:expr) => {
            match (is_v6, udp) {
                (false, true) => $link.ipv4(from, to, 64).udp(5353, 53).write(&mut bytes, payload),
                (true, true) => $link.ipv6(from6, to6, 64).udp(5353, 53).write(&mut bytes, payload),
                (false, false) => {
                    $link.ipv4(from, to, 64).tcp(40_000, 443, 7, 9).write(&mut bytes, payload)
                }
                (true, false) => {
                    $link.ipv6(from6, to6, 64).tcp(40_000, 443, 7, 9).write(&mut bytes, payload)
                }
            }
        };
    }
    match tags {
        0 => on!(link),
        1 => on!(link.single_vlan(5.try_into().unwrap())),
        _ => on!(link.double_vlan(6.try_into().unwrap(), 5.try_into().unwrap())),
    }
    .unwrap();
    bytes
}

#[test]
fn a_packet_looks_as_if_the_outside_had_made_it() {
    for (is_v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        for tags in 0..3 {
            for len in [0, 1, 33, 1400] {
                let payload: Vec<u8> = (0..len).map(|at| (at * 5 + 1) as u8).collect();
                let frame = packet(&out(), is_v6, udp, tags, &payload);
                assert_eq!(
                    swapped(&frame),
                    packet(&on_the_wire(), is_v6, udp, tags, &payload),
                    "v6 {is_v6}, udp {udp}, {tags} tags, {len} bytes"
                );
            }
        }
    }
}

#[test]
fn who_has_the_inside_address_on_the_wire_is_met_at_the_outside_one() {
    let mut twin = ends(INSIDE, IP_INSIDE, OUTSIDE, IP_OUTSIDE);
    twin.v6 = [link_local(INSIDE), link_local(OUTSIDE)];
    let mut seen = ends(OUTSIDE, IP_OUTSIDE, INSIDE, IP_INSIDE);
    seen.v6 = [link_local(OUTSIDE), link_local(INSIDE)];
    for is_v6 in [false, true] {
        let frame = packet(&twin, is_v6, false, 0, b"hello");
        assert_eq!(swapped(&frame), packet(&seen, is_v6, false, 0, b"hello"));
    }
}

#[test]
fn frames_of_others_pass_as_they_are() {
    let others = ends(PEER, IP_PEER, MacAddr([2, 0, 0, 0, 0, 8]), [10, 0, 0, 2]);
    for frame in [packet(&others, false, true, 0, b"x"), packet(&others, true, false, 1, b"x")] {
        assert_eq!(swapped(&frame), frame);
    }
    let without_ip = Rewrite::new(Sides { inside: INSIDE, outside: OUTSIDE }, None);
    let mut frame = packet(&out(), false, false, 0, b"");
    without_ip.swap(&mut frame, Csum::Unknown);
    let kept = Ends { v4: out().v4, ..on_the_wire() };
    assert_eq!(frame, packet(&kept, false, false, 0, b""));
}

/// The packet with the pseudo-header's sum alone in its checksum field, and where that is.
fn seeded(mut frame: Vec<u8>) -> (Vec<u8>, Csum) {
    let layers = Layers::of(&frame);
    let l4 = layers.l4.unwrap();
    let seed = layers.pseudo_header(&frame, l4, layers.l4_len).unwrap();
    put_be16(&mut frame, layers.l4_at + l4.checksum_at(), seed.value());
    (frame, Csum::needed(layers.l4_at, l4).unwrap())
}

#[test]
fn a_checksum_that_is_still_to_be_completed_has_the_other_seed() {
    for (is_v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        for tags in 0..3 {
            let of = |ends: Ends| seeded(packet(&ends, is_v6, udp, tags, &[7; 500]));
            let ((frame, csum), (wanted, _)) = (of(out()), of(on_the_wire()));
            let mut head = frame[..128].to_vec();
            rewrite().swap(&mut head, csum);
            let at = Layers::of(&frame).l4_at + Layers::of(&frame).l4.unwrap().checksum_at();
            let completed = |head: &[u8]| {
                let mut sum = Sum::default();
                sum.add(&head[Layers::of(head).l4_at..]);
                sum.add(&frame[128..]);
                sum.value()
            };
            assert_eq!(completed(&head), completed(&wanted[..128]), "the completed sums");
            put_be16(&mut head, at, 0);
            let mut wanted = wanted[..128].to_vec();
            put_be16(&mut wanted, at, 0);
            assert_eq!(head, wanted);
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_and_none_stays_none() {
    let mut frame = packet(&out(), false, false, 0, b"payload");
    frame[50] ^= 0x40;
    let other = swapped(&frame);
    let layers = Layers::of(&other);
    let mut sum = layers.pseudo_header(&other, L4::Tcp, layers.l4_len).unwrap();
    sum.add(&other[layers.l4_at..]);
    assert!(!sum.is_right());

    let mut none = packet(&out(), false, true, 0, b"payload");
    put_be16(&mut none, 40, 0);
    assert_eq!(be16(&swapped(&none), 40), Some(0));
}

#[test]
fn pieces_of_a_packet_have_one_address_and_the_first_the_sum() {
    let whole = packet(&out(), false, true, 0, &[3; 600]);
    let fragment = |flags: u16, ends: &Ends| {
        let mut frame = packet(ends, false, true, 0, &[3; 600]);
        put_be16(&mut frame, 20, flags);
        ipv4::set_sum(&mut frame[14..34]);
        frame
    };
    // More to come; the last, whose begin is no header.
    assert_eq!(swapped(&fragment(0x2000, &out())), fragment(0x2000, &on_the_wire()));
    let last = swapped(&fragment(0x0040, &out()));
    assert!(ipv4::is_sum_right(&last[14..34]));
    assert_eq!((&last[26..30], &last[34..]), (&IP_OUTSIDE[..], &whole[34..]));
}

fn arp(ends: [(MacAddr, [u8; 4]); 2], operation: ArpOperation) -> Vec<u8> {
    let [(from, ip), (to, to_ip)] = ends;
    let kinds = (ArpHardwareId::ETHERNET, EtherType::IPV4);
    let packet = ArpPacket::new(kinds.0, kinds.1, operation, &from.0, &ip, &to.0, &to_ip).unwrap();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(from.0, to.0).arp(packet).write(&mut bytes).unwrap();
    bytes
}

#[test]
fn arp_asks_and_answers_for_the_outside() {
    let (nobody, peer) = (MacAddr([0; 6]), (PEER, IP_PEER));
    for (operation, to) in [(ArpOperation::REQUEST, nobody), (ArpOperation::REPLY, PEER)] {
        let of = |mac, ip| arp([(mac, ip), (to, IP_PEER)], operation);
        assert_eq!(swapped(&of(INSIDE, IP_INSIDE)), of(OUTSIDE, IP_OUTSIDE));
        let to = |ip| arp([peer, (nobody, ip)], operation);
        assert_eq!(swapped(&to(IP_OUTSIDE)), to(IP_INSIDE));
    }
    let announced = |mac, ip| arp([(mac, ip), (nobody, ip)], ArpOperation::REQUEST);
    assert_eq!(swapped(&announced(INSIDE, IP_INSIDE)), announced(OUTSIDE, IP_OUTSIDE));
    let mut odd = arp([(INSIDE, IP_INSIDE), peer], ArpOperation::REPLY);
    odd[14] = 9; // of another kind of network
    assert_eq!(swapped(&odd)[14..], odd[14..]);
}

/// A packet of ICMP for IPv4 with a right checksum.
fn icmp(ends: &Ends, kind: Icmpv4Type, payload: &[u8]) -> Vec<u8> {
    let header = Icmpv4Header::with_checksum(kind, payload);
    let mut message = header.to_bytes().to_vec();
    message.extend(payload);
    let mut bytes = Vec::new();
    let link = PacketBuilder::ethernet2(ends.mac[0].0, ends.mac[1].0);
    link.ipv4(ends.v4[0], ends.v4[1], 64).write(&mut bytes, IpNumber::ICMP, &message).unwrap();
    bytes
}

fn icmpv6(ends: &Ends, kind: Icmpv6Type, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let link = PacketBuilder::ethernet2(ends.mac[0].0, ends.mac[1].0);
    link.ipv6(ends.v6[0], ends.v6[1], 255).icmpv6(kind).write(&mut bytes, payload).unwrap();
    bytes
}

#[test]
fn an_echo_is_another_packet_and_the_same_message() {
    let echo = IcmpEchoHeader { id: 1, seq: 2 };
    let of = |ends| icmp(&ends, Icmpv4Type::EchoRequest(echo), b"abcdefgh");
    assert_eq!(swapped(&of(out())), of(on_the_wire()));
    let of = |ends| icmpv6(&ends, Icmpv6Type::EchoRequest(echo), b"abcdefgh");
    assert_eq!(swapped(&of(out())), of(on_the_wire()));
}

#[test]
fn an_error_carries_the_packet_that_its_receiver_knows() {
    // Of a packet that the guest sent, as it comes back; all of it, and no more than must be there.
    let reversed = |ends: Ends| Ends { mac: [PEER, ends.mac[0]], ..reverse(ends) };
    for (udp, len) in [(false, 400), (true, 400), (false, 28), (true, 28), (true, 0)] {
        let of = |ends: Ends| {
            let carried = packet(&ends, false, udp, 0, &[9; 30]);
            let carried = &carried[14..];
            let carried = &carried[..len.min(carried.len())];
            let unreachable =
                Icmpv4Type::Unknown { type_u8: 3, code_u8: 1, bytes5to8: [0, 0, 0, 0] };
            icmp(&reversed(ends), unreachable, carried)
        };
        assert_eq!(swapped(&of(on_the_wire())), of(out()), "udp {udp}, {len} bytes");

        let of = |ends: Ends| {
            let carried = packet(&ends, true, udp, 0, &[9; 8]);
            let carried = &carried[14..];
            let carried = &carried[..(len + 40).min(carried.len())];
            let unreachable =
                Icmpv6Type::Unknown { type_u8: 1, code_u8: 4, bytes5to8: [0, 0, 0, 0] };
            icmpv6(&reversed(ends), unreachable, carried)
        };
        assert_eq!(swapped(&of(on_the_wire())), of(out()), "v6, udp {udp}, {len} bytes");
    }
}

fn reverse(ends: Ends) -> Ends {
    let ([m0, m1], [a, b], [c, d]) = (ends.mac, ends.v4, ends.v6);
    Ends { mac: [m1, m0], v4: [b, a], v6: [d, c] }
}

fn message(kind: u8, ends: &Ends, payload: &[u8]) -> Vec<u8> {
    icmpv6(ends, Icmpv6Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] }, payload)
}

#[test]
fn neighbours_find_the_outside() {
    let group_mac = |which: MacAddr| {
        let [.., d, e, f] = which.0;
        MacAddr([0x33, 0x33, 0xff, d, e, f])
    };
    // A neighbour asks, by the group of what it asks for.
    let asked = |which: MacAddr| {
        let mut ends = ends(PEER, IP_PEER, group_mac(which), IP_PEER);
        ends.v6 = [link_local(PEER), group(which)];
        let option = [&[1, 1][..], &PEER.0].concat();
        message(135, &ends, &[&link_local(which)[..], &option].concat())
    };
    assert_eq!(swapped(&asked(OUTSIDE)), asked(INSIDE));
    // The guest answers.
    let answered = |ends: Ends, which: MacAddr| {
        let option = [&[2, 1][..], &which.0].concat();
        message(136, &ends, &[&link_local(which)[..], &option].concat())
    };
    assert_eq!(swapped(&answered(out(), INSIDE)), answered(on_the_wire(), OUTSIDE));
    // It asks for routers, with an option of another kind before.
    let routers = |ends: Ends, which: MacAddr| {
        message(133, &ends, &[&[14, 1, 0, 0, 0, 0, 0, 0][..], &[1, 1], &which.0].concat())
    };
    assert_eq!(swapped(&routers(out(), INSIDE)), routers(on_the_wire(), OUTSIDE));
    // And says which groups it listens to: one with a source, its own, none of its own.
    let listens = |ends: Ends, which: MacAddr| {
        let mut records = vec![1, 0, 0, 1];
        records.extend([group(which), link_local(PEER)].concat());
        records.extend([4, 0, 0, 0]);
        records.extend(group(which));
        message(143, &ends, &records)
    };
    assert_eq!(swapped(&listens(out(), INSIDE)), listens(on_the_wire(), OUTSIDE));
}

#[test]
fn a_dhcp_client_is_the_outside_one() {
    let of = |ends: Ends, ports: [u16; 2], mac: MacAddr, ip: [u8; 4]| {
        let mut bytes = vec![1, 1, 6, 0, 9, 9, 9, 9, 0, 0, 0, 0];
        bytes.extend([ip, ip, IP_PEER, IP_PEER].concat());
        bytes.extend(mac.0);
        bytes.extend([0; 300]);
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2(ends.mac[0].0, ends.mac[1].0);
        let [from, to] = ports;
        let link = link.ipv4(ends.v4[0], ends.v4[1], 64).udp(from, to);
        link.write(&mut frame, &bytes).unwrap();
        frame
    };
    for ports in [[68, 67], [67, 68]] {
        assert_eq!(
            swapped(&of(out(), ports, INSIDE, IP_INSIDE)),
            of(on_the_wire(), ports, OUTSIDE, IP_OUTSIDE)
        );
    }
    let elsewhere = of(out(), [5000, 69], INSIDE, IP_INSIDE);
    assert_eq!(swapped(&elsewhere)[42..], elsewhere[42..]);
}

/// Whether all sums of a TCP or UDP packet are right.
fn is_right(frame: &[u8]) -> bool {
    let layers = Layers::of(frame);
    let Some(l4) = layers.l4 else { return false };
    let header = &frame[layers.l3_at..layers.l4_at];
    let addresses = match layers.l3.unwrap() {
        L3::Ipv4 => &header[12..20],
        L3::Ipv6 => &header[8..40],
    };
    let mut sum = pseudo_header(addresses, l4.protocol(), layers.l4_len as u32);
    sum.add(&frame[layers.l4_at..]);
    sum.is_right() && (layers.l3 == Some(L3::Ipv6) || ipv4::is_sum_right(header))
}

proptest! {
    #[test]
    fn any_addresses_keep_sums_right_and_come_back(
        macs: ([u8; 6], [u8; 6]), ips: ([u8; 4], [u8; 4]), ports: (u16, u16),
        is_v6: bool, udp: bool, payload: Vec<u8>,
    ) {
        let (inside, outside) = (MacAddr(macs.0), MacAddr(macs.1));
        let rewrite = Rewrite::new(
            Sides { inside, outside },
            Some(Sides { inside: ips.0.into(), outside: ips.1.into() }),
        );
        let mut lower = [0x20; 16];
        let [a, b, c, d, e, f] = macs.0;
        lower[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        let ends = Ends { mac: [inside, PEER], v4: [ips.0, IP_PEER], v6: [lower, link_local(PEER)] };
        let mut frame = packet(&ends, is_v6, udp, 0, &payload);
        let at = Layers::of(&frame).l4_at;
        put_be16(&mut frame, at, ports.0);
        let l4 = Layers::of(&frame).l4.unwrap();
        put_be16(&mut frame, at + l4.checksum_at(), 0);
        let layers = Layers::of(&frame);
        let mut sum = layers.pseudo_header(&frame, l4, layers.l4_len).unwrap();
        sum.add(&frame[at..]);
        put_be16(&mut frame, at + l4.checksum_at(), sum.checksum());
        prop_assert!(is_right(&frame));
        let mut other = frame.clone();
        rewrite.swap(&mut other, Csum::Unknown);
        prop_assert!(is_right(&other));
        prop_assert_eq!(&other[6..12], &macs.1);
        rewrite.swap(&mut other, Csum::Unknown);
        prop_assert!(is_right(&other));
        // Zero has two forms.
        let field = at + l4.checksum_at();
        prop_assert_eq!(be16(&other, field).unwrap() % 0xffff, be16(&frame, field).unwrap() % 0xffff);
        put_be16(&mut other, field, 0);
        put_be16(&mut frame, field, 0);
        prop_assert_eq!(other, frame);
    }

    #[test]
    fn any_bytes_are_taken_and_what_was_swapped_twice_stays_so(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8100]),
        begin: [u8; 2], protocol in prop::sample::select(vec![1u8, 6, 17, 44, 58, 60]),
        start: u16, offset: u16,
    ) {
        let mut frame = bytes;
        put_be16(&mut frame, 12, kind);
        let [version, _] = begin;
        if let Some(first) = frame.get_mut(14) {
            *first = match kind { 0x0800 => 0x45, _ => 0x60 | version & 15 };
        }
        for at in [20, 23] {
            if let Some(place) = frame.get_mut(at) { *place = protocol; }
        }
        for csum in [Csum::Unknown, Csum::Needed { start: start % 200, offset: offset % 20 }] {
            let twice = |frame: &mut Vec<u8>| {
                rewrite().swap(frame, csum);
                rewrite().swap(frame, csum);
            };
            let len = frame.len();
            twice(&mut frame);
            let once = frame.clone();
            twice(&mut frame);
            prop_assert_eq!(&frame, &once);
            prop_assert_eq!(frame.len(), len);
        }
    }
}

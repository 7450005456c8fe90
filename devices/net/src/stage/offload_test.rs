//! Tests of transmit offloads: what leaves, once completed as a host does, is what an independent
//! builder makes.

use device_core::testing::ram;
use etherparse::{Ipv6Extensions, Ipv6RawExtHeader};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::frame::{HEAD, Offloads};
use crate::wire::be16;
use crate::wire::layers::Layers;
use crate::wire::testing::{Build, frame};

/// The frame as a ring would show it, its first `pushed` bytes not from guest memory.
fn taken(bytes: &[u8], pushed: usize) -> TxFrame {
    let memory = ram(0x2_0000);
    memory.write_slice(bytes, GuestAddress(0)).unwrap();
    let mut frame = TxFrame::new(memory);
    frame.head.set(&bytes[..pushed]);
    frame.body.push(pushed as u64, (bytes.len() - pushed) as u32).unwrap();
    frame.pull_head();
    frame
}

/// What a host makes of the frame: completes its checksum.
fn completed(frame: &TxFrame) -> Vec<u8> {
    let mut body = vec![0; frame.body.len()];
    assert!(frame.body.read_at(0, &mut body));
    let mut bytes = [frame.head.bytes(), &body].concat();
    if let Csum::Needed { start, offset } = frame.meta.csum {
        let mut sum = Sum::default();
        sum.add(&bytes[start.into()..]);
        let at = usize::from(start + offset);
        bytes[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
    }
    bytes
}

/// What a driver would ask for this packet.
fn asked(bytes: &[u8], transport_sum: TransportSum) -> Request {
    let layers = Layers::of(bytes);
    Request {
        l3: layers.l3,
        l4: layers.l4,
        l3_at: layers.l3_at,
        l3_len: layers.l4_at - layers.l3_at,
        header_sum: true,
        transport_sum,
        segment: None,
    }
}

/// Puts the pseudo-header's sum in place of the checksum, as a stack does that leaves the rest to
/// its card.
fn seeded(mut bytes: Vec<u8>, with_len: bool) -> Vec<u8> {
    let layers = Layers::of(&bytes);
    let l4 = layers.l4.unwrap();
    let packet = &bytes[layers.l3_at..];
    let addresses = match layers.l3.unwrap() {
        L3::Ipv4 => &packet[12..20],
        L3::Ipv6 => &packet[8..40],
    };
    let len = if with_len { layers.l4_len as u32 } else { 0 };
    let sum = pseudo_header(addresses, l4.protocol(), len).value();
    put_be16(&mut bytes, layers.l4_at + l4.checksum_at(), sum);
    bytes
}

fn extended() -> Build {
    let raw = Ipv6RawExtHeader::new_raw(0.into(), &[0; 6]).unwrap();
    let extensions = Ipv6Extensions { hop_by_hop_options: Some(raw), ..Ipv6Extensions::default() };
    Build { v6: true, extensions, payload: 333, ..Build::default() }
}

fn builds() -> Vec<Build> {
    let mut builds = vec![Build { options: 8, payload: 100, ..Build::default() }, extended()];
    for (v6, udp, tags) in [(false, false, 0), (false, true, 1), (true, false, 2), (true, true, 0)]
    {
        for payload in [0, 1, 55, 1400, 9000] {
            builds.push(Build { v6, udp, tags, payload, ..Build::default() });
        }
    }
    builds
}

#[test]
fn seeded_and_whole_sums_come_out_as_a_stack_computes_them() {
    for build in builds() {
        let right = frame(&build);
        for pushed in [0, 54.min(right.len()), 96.min(right.len())] {
            let mut one = taken(&seeded(right.clone(), true), pushed);
            apply(&asked(&right, TransportSum::Seeded), &mut one).unwrap();
            assert_eq!(completed(&one), right);

            let layers = Layers::of(&right);
            let mut garbage = right.clone();
            let field = layers.l4_at + layers.l4.unwrap().checksum_at();
            put_be16(&mut garbage, field, 0xdead);
            if layers.l3 == Some(L3::Ipv4) {
                put_be16(&mut garbage, layers.l3_at + 10, 0xbeef);
            }
            let mut one = taken(&garbage, pushed);
            apply(&asked(&right, TransportSum::Whole), &mut one).unwrap();
            assert_eq!(completed(&one), right);
            assert_eq!(one.meta.needs(), Offloads::CSUM);
        }
    }
}

#[test]
fn tcp_behind_extension_headers_is_tcp_even_if_the_driver_calls_it_udp() {
    let right = frame(&extended());
    let mut one = taken(&seeded(right.clone(), true), 0);
    let request = Request { l4: Some(L4::Udp), ..asked(&right, TransportSum::Seeded) };
    apply(&request, &mut one).unwrap();
    assert_eq!(completed(&one), right);
}

#[test]
fn a_seeded_sum_needs_no_network_header() {
    let right = frame(&Build { udp: true, payload: 10, ..Build::default() });
    let mut one = taken(&seeded(right.clone(), true), 0);
    apply(&Request { l3: None, ..asked(&right, TransportSum::Seeded) }, &mut one).unwrap();
    assert_eq!(completed(&one), right);
}

#[test]
fn padding_behind_the_packet_does_not_change_the_sum() {
    let right = frame(&Build { payload: 1, ..Build::default() });
    let padded = [right.clone(), vec![0; 5]].concat();
    let mut one = taken(&padded, 0);
    apply(&asked(&right, TransportSum::Whole), &mut one).unwrap();
    assert_eq!(completed(&one), padded);
}

fn cut(bytes: &[u8], payload: u16) -> Request {
    let segment = Some(Segment { payload, l4_len: 20, max_mtu: 9216 });
    Request { segment, ..asked(bytes, TransportSum::Whole) }
}

/// The segments that a host makes of the frame, as Linux does it: by the lengths and the seed in
/// its headers.
fn segments(one: &TxFrame) -> Vec<Vec<u8>> {
    let gso = one.meta.gso.unwrap();
    let Csum::Needed { start, offset } = one.meta.csum else { panic!("it needs a sum") };
    let (start, headers) = (usize::from(start), usize::from(gso.headers));
    let mut whole = [one.head.bytes(), &vec![0; one.body.len()]].concat();
    assert!(one.body.read_at(0, &mut whole[one.head.bytes().len()..]));
    let (head, payload) = whole.split_at(headers);
    let l3_at = Layers::of(head).l3_at;
    let old_len = (whole.len() - start) as u32;
    let last = payload.len().div_ceil(gso.segment.into()) - 1;
    let cut = |(at, piece): (usize, &[u8])| {
        let mut head = head.to_vec();
        let seq = u32::from_be_bytes(head[start + 4..start + 8].try_into().unwrap());
        let seq = seq.wrapping_add((at * usize::from(gso.segment)) as u32);
        head[start + 4..start + 8].copy_from_slice(&seq.to_be_bytes());
        head[start + 13] &= if at == 0 { 0xff } else { 0x7f };
        head[start + 13] &= if at == last { 0xff } else { 0xf6 };
        let len = head.len() + piece.len();
        match gso.kind {
            GsoKind::Tcp4 => {
                put_be16(&mut head, l3_at + 2, (len - l3_at) as u16);
                let id = be16(&head, l3_at + 4).unwrap();
                put_be16(&mut head, l3_at + 4, id.wrapping_add(at as u16));
                ipv4::set_sum(&mut head[l3_at..start]);
            }
            _ => drop(put_be16(&mut head, l3_at + 4, (len - l3_at - 40) as u16)),
        }
        // The seed's length is replaced by the segment's.
        let mut sum = Sum::default();
        sum.add(&(!old_len).to_be_bytes());
        sum.add(&((len - start) as u32).to_be_bytes());
        sum.add(&head[start..]);
        sum.add(piece);
        put_be16(&mut head, start + usize::from(offset), sum.checksum());
        [&head, piece].concat()
    };
    payload.chunks(gso.segment.into()).enumerate().map(cut).collect()
}

#[test]
fn a_large_packet_is_cut_into_segments_that_are_right_each() {
    for v6 in [false, true] {
        let build = Build { v6, flags: true, payload: 10_000, ..Build::default() };
        let whole = frame(&build);
        let mut garbage = whole.clone();
        // What Linux and FreeBSD leave in place: no length and a sum without one.
        let layers = Layers::of(&whole);
        put_be16(&mut garbage, layers.l3_at + if v6 { 4 } else { 2 }, 0);
        put_be16(&mut garbage, layers.l4_at + 16, 0x5555);
        let mut one = taken(&garbage, 0);
        apply(&cut(&whole, 1448), &mut one).unwrap();
        let gso = one.meta.gso.unwrap();
        assert!(gso.ecn);
        assert_eq!(usize::from(gso.headers), layers.l4_at + 20);
        let segments = segments(&one);
        let payloads: Vec<_> =
            segments.iter().map(|segment| segment.len() - usize::from(gso.headers)).collect();
        assert_eq!(payloads, [1448, 1448, 1448, 1448, 1448, 1448, 1312]);
        for (at, segment) in segments.iter().enumerate() {
            let parsed = etherparse::PacketHeaders::from_ethernet_slice(segment).unwrap();
            let net = parsed.net.unwrap();
            let tcp = parsed.transport.unwrap().tcp().unwrap();
            let sum = match &net {
                etherparse::NetHeaders::Ipv4(ip, _) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    assert_eq!(ip.identification, 0x1234 + at as u16);
                    tcp.calc_checksum_ipv4(ip, parsed.payload.slice()).unwrap()
                }
                etherparse::NetHeaders::Ipv6(ip, _) => {
                    tcp.calc_checksum_ipv6(ip, parsed.payload.slice()).unwrap()
                }
                etherparse::NetHeaders::Arp(_) => panic!("it is IP"),
            };
            assert_eq!(tcp.checksum, sum, "segment {at}");
            assert_eq!(tcp.sequence_number, 0x0102_0304 + 1448 * at as u32);
            assert_eq!((tcp.cwr, tcp.fin, tcp.psh), (at == 0, at == 6, at == 6));
        }
    }
}

#[test]
fn what_fits_into_one_segment_is_not_cut() {
    let whole = frame(&Build { payload: 1448, ..Build::default() });
    let mut one = taken(&whole, 0);
    apply(&cut(&whole, 1448), &mut one).unwrap();
    assert_eq!(one.meta.gso, None);
    assert_eq!(completed(&one), whole);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let tcp = frame(&Build { payload: 5000, ..Build::default() });
    let udp = frame(&Build { udp: true, payload: 5000, ..Build::default() });
    let right = cut(&tcp, 1448);
    let segment = right.segment.unwrap();
    let cases = [
        ("no segment", Request { segment: Some(Segment { payload: 0, ..segment }), ..right }),
        ("tiny segment", Request { segment: Some(Segment { payload: 7, ..segment }), ..right }),
        ("huge", Request { segment: Some(Segment { payload: 9200, ..segment }), ..right }),
        ("short TCP", Request { segment: Some(Segment { l4_len: 16, ..segment }), ..right }),
        ("not TCP", Request { l4: Some(L4::Udp), ..right }),
        ("unknown network", Request { l3: None, ..right }),
        ("wrong network", Request { l3: Some(L3::Ipv6), ..right }),
        ("wrong offset", Request { l3_at: 16, ..right }),
        ("short network", Request { l3_len: 16, ..right }),
        ("long network", Request { l3_len: 24, ..right }),
        ("past the head", Request { l3_at: HEAD, ..right }),
        ("far off", Request { l3_at: 255, l3_len: 255, segment: None, ..right }),
        ("no transport", Request { l4: None, segment: None, ..right }),
    ];
    for (what, request) in cases {
        assert!(apply(&request, &mut taken(&tcp, 0)).is_err(), "{what}");
    }
    apply(&right, &mut taken(&tcp, 0)).unwrap();
    assert!(apply(&cut(&udp, 1448), &mut taken(&udp, 0)).is_err());
    // A header that is cut off.
    let request = asked(&tcp, TransportSum::Seeded);
    assert!(apply(&request, &mut taken(&tcp[..53], 0)).is_err());
    apply(&request, &mut taken(&tcp[..54], 0)).unwrap();
}

proptest! {
    #[test]
    fn whatever_a_driver_says_the_frame_keeps_its_length_and_what_is_needed_lies_within(
        bytes in prop_oneof![
            Just(frame(&Build { payload: 3000, ..Build::default() })),
            Just(frame(&Build { v6: true, payload: 100, ..Build::default() })),
            prop::collection::vec(any::<u8>(), 14..400),
        ],
        (l3, l4) in (any::<Option<bool>>(), any::<Option<bool>>()),
        (l3_at, l3_len) in prop_oneof![Just((14, 20)), Just((14, 40)), (0usize..256, 0usize..256)],
        (header_sum, sum) in (any::<bool>(), 0usize..3),
        segment in any::<Option<(u16, u8)>>(),
    ) {
        let request = Request {
            l3: l3.map(|v6| if v6 { L3::Ipv6 } else { L3::Ipv4 }),
            l4: l4.map(|udp| if udp { L4::Udp } else { L4::Tcp }),
            l3_at,
            l3_len,
            header_sum,
            transport_sum:
                [TransportSum::Nothing, TransportSum::Seeded, TransportSum::Whole][sum],
            segment: segment.map(|(payload, words)| Segment {
                payload: payload & 0x3fff,
                l4_len: 4 * usize::from(words & 0x3f),
                max_mtu: 9216,
            }),
        };
        let mut one = taken(&bytes, 0);
        if apply(&request, &mut one).is_ok() {
            prop_assert_eq!(one.len(), bytes.len());
            if let Csum::Needed { start, offset } = one.meta.csum {
                prop_assert!(usize::from(start + offset) + 2 <= bytes.len());
            }
            if let Some(gso) = one.meta.gso {
                prop_assert!(gso.segment >= 8 && usize::from(gso.headers) < bytes.len());
            }
        }
    }
}

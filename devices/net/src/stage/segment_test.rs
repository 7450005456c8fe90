//! Tests of cutting frames, against packets as an independent library reads them.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;

use super::*;
use crate::frame::{FlowHash, HEAD};
use crate::rss::Protocol;
use crate::wire::testing::{Build, frame};

const SEQUENCE: u32 = 0x0102_0304;
const IDENTIFICATION: u16 = 0x1234;

/// A large frame as a backend brings it.
fn large(build: &Build, segment: u16) -> (RxFrame, Vec<u8>) {
    let bytes = frame(build);
    let layers = Layers::of(&bytes);
    let mut large = RxFrame { len: bytes.len(), ..RxFrame::default() };
    large.head.set(&bytes[..bytes.len().min(HEAD)]);
    let kind = match (build.udp, build.v6) {
        (true, _) => GsoKind::Udp,
        (false, true) => GsoKind::Tcp6,
        (false, false) => GsoKind::Tcp4,
    };
    let offset = if build.udp { 6 } else { 16 };
    large.meta.csum = Csum::Needed { start: layers.l4_at as u16, offset };
    large.meta.gso = Some(Gso { kind, ecn: false, segment, headers: 0 });
    large.meta.hash = Some(FlowHash { value: 77, protocol: Protocol::Tcp4 });
    (large, bytes)
}

/// All segments, each with the payload that belongs behind its head.
fn cut(mut large: RxFrame, whole: &[u8]) -> Result<Vec<(RxFrame, Vec<u8>)>, BadSegments> {
    let mut segments = Segments::of(&large, whole)?;
    let mut all = Vec::new();
    while let Some(payload) = segments.next(whole, &mut large) {
        assert!(large.len <= segments.longest());
        let bytes = [large.head.bytes(), &whole[payload]].concat();
        assert_eq!(bytes.len(), large.len);
        all.push((large.clone(), bytes));
    }
    Ok(all)
}

fn builds() -> Vec<Build> {
    let extended = {
        let mut build = Build { v6: true, payload: 5000, ..Build::default() };
        let options = etherparse::Ipv6RawExtHeader::new_raw(0.into(), &[0; 6]).unwrap();
        build.extensions.destination_options = Some(options);
        build
    };
    vec![
        Build { payload: 10_000, flags: true, ..Build::default() },
        Build { payload: 64_000, tags: 1, ..Build::default() },
        Build { payload: 4344, options: 40, tags: 2, ..Build::default() },
        Build { payload: 7, ..Build::default() },
        Build { payload: 30_001, v6: true, flags: true, ..Build::default() },
        extended,
    ]
}

#[test]
fn segments_are_whole_packets_with_right_sums_and_numbers() {
    for build in builds() {
        let (large, whole) = large(&build, 1448);
        let segments = cut(large, &whole).unwrap();
        assert_eq!(segments.len(), build.payload.div_ceil(1448));
        let mut payload = Vec::new();
        for (nth, (frame, bytes)) in segments.iter().enumerate() {
            let packet = PacketHeaders::from_ethernet_slice(bytes).unwrap();
            let Some(TransportHeader::Tcp(tcp)) = packet.transport else { panic!("{packet:?}") };
            let sum = match packet.net.unwrap() {
                NetHeaders::Ipv4(ip, _) => {
                    assert_eq!(ip.identification, IDENTIFICATION + nth as u16);
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    tcp.calc_checksum_ipv4(&ip, packet.payload.slice())
                }
                NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(&ip, packet.payload.slice()),
                other => panic!("{other:?}"),
            };
            assert_eq!(tcp.checksum, sum.unwrap());
            assert_eq!(tcp.sequence_number, SEQUENCE + 1448 * nth as u32);
            let (first, last) = (nth == 0, nth + 1 == segments.len());
            assert_eq!((tcp.fin, tcp.psh), (build.flags && last, build.flags && last));
            assert_eq!(tcp.cwr, build.flags && first);
            assert!(tcp.ack);
            payload.extend_from_slice(packet.payload.slice());
            // What a card tells its driver of it.
            assert_eq!(frame.findings.layers, Layers::of(bytes));
            assert_eq!(frame.findings.transport, TransportCheck::Right);
            assert_eq!((frame.meta.csum, frame.meta.gso), (Csum::Valid, None));
            assert_eq!(frame.meta.hash.unwrap().value, 77);
        }
        assert_eq!(payload, whole[whole.len() - build.payload..]);
    }
}

#[test]
fn datagrams_are_whole_packets_with_right_sums_and_lengths() {
    for (v6, tags, payload) in
        [(false, 0, 10_000), (false, 1, 1449), (true, 0, 60_001), (true, 2, 9)]
    {
        let build = Build { udp: true, v6, tags, payload, ..Build::default() };
        let (large, whole) = large(&build, 1448);
        let segments = cut(large, &whole).unwrap();
        assert_eq!(segments.len(), payload.div_ceil(1448));
        let mut all = Vec::new();
        for (nth, (frame, bytes)) in segments.iter().enumerate() {
            let packet = PacketHeaders::from_ethernet_slice(bytes).unwrap();
            let Some(TransportHeader::Udp(udp)) = packet.transport else { panic!("{packet:?}") };
            assert_eq!(usize::from(udp.length), 8 + packet.payload.slice().len());
            let sum = match packet.net.unwrap() {
                NetHeaders::Ipv4(ip, _) => {
                    assert_eq!(ip.identification, IDENTIFICATION + nth as u16);
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    udp.calc_checksum_ipv4(&ip, packet.payload.slice())
                }
                NetHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(&ip, packet.payload.slice()),
                other => panic!("{other:?}"),
            };
            assert_eq!(udp.checksum, sum.unwrap());
            assert_eq!((frame.meta.csum, frame.meta.gso), (Csum::Valid, None));
            all.extend_from_slice(packet.payload.slice());
        }
        assert_eq!(all, whole[whole.len() - payload..]);
    }
}

#[test]
fn numbers_wrap_around() {
    let (large, mut whole) = large(&Build { payload: 3000, ..Build::default() }, 1000);
    whole[18..20].copy_from_slice(&[0xff, 0xff]);
    whole[38..42].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let segments = cut(large, &whole).unwrap();
    assert_eq!(segments[1].1[18..20], [0, 0]);
    assert_eq!(segments[1].1[38..42], 999u32.to_be_bytes());
}

#[test]
fn what_is_not_as_it_says_is_not_cut() {
    let refused = |build: &Build, change: fn(&mut RxFrame, &mut Vec<u8>)| {
        let (mut frame, mut whole) = large(build, 100);
        change(&mut frame, &mut whole);
        cut(frame, &whole).err().unwrap()
    };
    let plain = Build { payload: 500, ..Build::default() };
    let piece = Build { fragment: true, ..plain.clone() };
    let udp = Build { udp: true, ..plain.clone() };
    let gso = |frame: &mut RxFrame, kind, segment| {
        frame.meta.gso = Some(Gso { kind, ecn: false, segment, headers: 0 });
    };
    assert_eq!(refused(&piece, |_, _| ()), BadSegments::Headers);
    let as_tcp: fn(&mut RxFrame, &mut Vec<u8>) = |frame, _| {
        frame.meta.gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 100, headers: 0 });
    };
    assert_eq!(refused(&udp, as_tcp), BadSegments::Headers);
    assert_eq!(refused(&plain, |frame, _| frame.meta.gso = None), BadSegments::Headers);
    let other: fn(&mut RxFrame, &mut Vec<u8>) = |frame, _| frame.meta.csum = Csum::Valid;
    assert_eq!(refused(&plain, other), BadSegments::Checksum);
    let elsewhere: fn(&mut RxFrame, &mut Vec<u8>) =
        |frame, _| frame.meta.csum = Csum::Needed { start: 34, offset: 6 };
    assert_eq!(refused(&plain, elsewhere), BadSegments::Checksum);
    // A TCP header shorter than any, and one longer than the frame.
    assert_eq!(refused(&plain, |_, whole| whole[46] = 0x40), BadSegments::Headers);
    assert_eq!(
        refused(&Build { payload: 3, ..plain.clone() }, |_, whole| whole[46] = 0xf0),
        BadSegments::Headers
    );
    assert_eq!(refused(&Build { payload: 0, ..plain.clone() }, |_, _| ()), BadSegments::Payload);
    let (mut frame, whole) = large(&plain, 100);
    gso(&mut frame, GsoKind::Tcp6, 100);
    assert_eq!(cut(frame.clone(), &whole).err().unwrap(), BadSegments::Headers);
    gso(&mut frame, GsoKind::Udp, 100);
    assert_eq!(cut(frame.clone(), &whole).err().unwrap(), BadSegments::Headers);
    gso(&mut frame, GsoKind::Tcp4, MIN_SEGMENT - 1);
    assert_eq!(cut(frame.clone(), &whole).err().unwrap(), BadSegments::Payload);
    gso(&mut frame, GsoKind::Tcp4, 100);
    assert_eq!(cut(frame, &whole[..300]).err().unwrap(), BadSegments::Headers);
}

proptest! {
    #[test]
    fn any_frame_is_refused_or_cut_into_no_more_than_it_is(
        change in proptest::collection::vec((0usize..200, any::<u8>()), 0..6),
        which in 0usize..6,
        segment in 0u16..3000,
    ) {
        let (frame, mut whole) = large(&builds()[which], segment);
        for (at, byte) in change {
            if let Some(place) = whole.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(segments) = cut(frame.clone(), &whole) {
            let headers = segments[0].0.head.bytes().len();
            let payload: usize = segments.iter().map(|(frame, _)| frame.len - headers).sum();
            prop_assert_eq!(payload, frame.len - headers);
            prop_assert_eq!(segments.len(), payload.div_ceil(segment.into()));
        }
    }
}

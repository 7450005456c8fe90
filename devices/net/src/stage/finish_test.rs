//! Tests of finishing received frames, wherever their bytes lie.

use device_core::testing::ram;

use super::*;
use crate::frame::HEAD;
use crate::wire::put_be16;
use crate::wire::testing::{Build, frame};

/// What became of a frame that a backend brought as `bytes`, with `room` bytes of guest buffers.
struct Done {
    bytes: Vec<u8>,
    findings: Findings,
    csum: Csum,
}

fn finished(bytes: &[u8], csum: Csum, room: usize) -> Done {
    let mut list = Scatter::new(ram(0x2_0000));
    // In pieces of 100 bytes, far from each other.
    let mut at = 0;
    while list.len() < room {
        list.push(at, 100.min(room - list.len()) as u32).unwrap();
        at += 200;
    }
    let mut spill = vec![0; 0x1_0000];
    let mut frame = RxFrame { len: bytes.len(), ..RxFrame::default() };
    frame.meta.csum = csum;
    let (head, body) = bytes.split_at(bytes.len().min(HEAD));
    frame.head.set(head);
    frame.findings.layers = Layers::of(head);
    let in_room = room.saturating_sub(HEAD).min(body.len());
    list.write_at(HEAD, &body[..in_room]);
    spill[..body.len() - in_room].copy_from_slice(&body[in_room..]);
    let spilled_at = room.saturating_sub(HEAD) + HEAD;
    let chunk = &mut [0xee; CHUNK];
    finish(&mut frame, Body { room: &list, headroom: 0, spill: &mut spill, spilled_at, chunk });
    let mut back = vec![0; body.len()];
    list.read_at(HEAD, &mut back[..in_room]);
    back[in_room..].copy_from_slice(&spill[..body.len() - in_room]);
    let bytes = [frame.head.bytes(), &back].concat();
    Done { bytes, findings: frame.findings, csum: frame.meta.csum }
}

fn builds() -> Vec<Build> {
    let mut builds = Vec::new();
    for (v6, udp, tags) in [(false, false, 0), (false, true, 1), (true, false, 2), (true, true, 0)]
    {
        for payload in [0, 1, 86, 87, 1400, 9001] {
            builds.push(Build { v6, udp, tags, payload, ..Build::default() });
        }
    }
    builds
}

/// Rooms that hold all, some or nothing of a frame.
const ROOMS: [usize; 6] = [0, 50, 128, 129, 1001, 10_000];

fn field(bytes: &[u8]) -> usize {
    let layers = Layers::of(bytes);
    layers.l4_at + layers.l4.unwrap().checksum_at()
}

#[test]
fn an_open_checksum_is_completed_and_known_to_be_right() {
    for build in builds() {
        let right = frame(&build);
        let layers = Layers::of(&right);
        let l4 = layers.l4.unwrap();
        // The host leaves the pseudo-header's sum: what is missing to the sum of all else.
        let mut open = right.clone();
        put_be16(&mut open, field(&right), 0);
        let mut rest = Sum::default();
        rest.add(&open[layers.l4_at..]);
        let mut seed = Sum::default();
        seed.add_number(!rest.value());
        seed.add_number(!be16(&right, field(&right)).unwrap());
        put_be16(&mut open, field(&right), seed.value());
        let start = layers.l4_at as u16;
        let csum = Csum::Needed { start, offset: l4.checksum_at() as u16 };
        for room in ROOMS {
            let done = finished(&open, csum, room);
            assert_eq!(done.bytes, right);
            assert_eq!(done.findings.transport, TransportCheck::Right);
            assert_eq!(done.csum, Csum::Valid);
        }
    }
}

#[test]
fn a_checksum_that_nobody_vouches_for_is_checked() {
    for build in builds() {
        let right = frame(&build);
        for room in ROOMS {
            let done = finished(&right, Csum::Unknown, room);
            assert_eq!(done.findings.transport, TransportCheck::Right);
            let mut wrong = right.clone();
            *wrong.last_mut().unwrap() ^= 0x10;
            let done = finished(&wrong, Csum::Unknown, room);
            assert_eq!(done.findings.transport, TransportCheck::Wrong);
            assert_eq!(done.bytes, wrong);
            assert_eq!(done.csum, Csum::Unknown);
            // What the backend vouches for is not summed again.
            let done = finished(&wrong, Csum::Valid, room);
            assert_eq!(done.findings.transport, TransportCheck::Right);
        }
    }
}

#[test]
fn padding_behind_the_packet_is_not_summed() {
    let padded = [frame(&Build { payload: 3, ..Build::default() }), vec![7; 9]].concat();
    let done = finished(&padded, Csum::Unknown, 1000);
    assert_eq!(done.findings.transport, TransportCheck::Right);
}

#[test]
fn a_packet_that_is_cut_off_is_not_judged() {
    let whole = frame(&Build { payload: 300, ..Build::default() });
    let done = finished(&whole[..200], Csum::Unknown, 1000);
    assert_eq!(done.findings.transport, TransportCheck::NotDone);
}

#[test]
fn udp_without_a_checksum_is_right_over_ipv4_only() {
    for (v6, expected) in [(false, TransportCheck::NotDone), (true, TransportCheck::Wrong)] {
        let mut bytes = frame(&Build { v6, udp: true, payload: 9, ..Build::default() });
        let at = field(&bytes);
        put_be16(&mut bytes, at, 0);
        assert_eq!(finished(&bytes, Csum::Unknown, 1000).findings.transport, expected);
    }
}

#[test]
fn a_wrong_header_sum_is_found_and_the_rest_not_judged() {
    let mut bytes = frame(&Build { payload: 9, ..Build::default() });
    assert!(!finished(&bytes, Csum::Unknown, 1000).findings.header_sum_wrong);
    bytes[24] ^= 1;
    let done = finished(&bytes, Csum::Unknown, 1000);
    assert!(done.findings.header_sum_wrong);
    assert_eq!(done.findings.transport, TransportCheck::NotDone);
}

#[test]
fn a_fragment_and_what_is_not_ip_are_not_judged() {
    let piece = frame(&Build { fragment: true, payload: 100, ..Build::default() });
    let done = finished(&piece, Csum::Unknown, 1000);
    assert_eq!(done.findings.transport, TransportCheck::NotDone);
    assert!(done.findings.layers.fragment && !done.findings.header_sum_wrong);
    let done = finished(&[0xff; 60], Csum::Unknown, 1000);
    assert_eq!(done.findings.transport, TransportCheck::NotDone);
    assert_eq!(done.findings.layers.l3, None);
}

#[test]
fn an_open_checksum_deep_in_a_frame_is_stored_where_it_lies() {
    // As of a packet in a tunnel, on the edge of head and body and on that of room and spill.
    let bytes: Vec<u8> = (0..3000).map(|at| at as u8).collect();
    for (start, offset, room) in [(120u16, 7u16, 2000), (1900, 99, 2000), (2500, 6, 2000)] {
        let csum = Csum::Needed { start, offset };
        let mut sum = Sum::default();
        sum.add(&bytes[start.into()..]);
        let mut expected = bytes.clone();
        put_be16(&mut expected, usize::from(start + offset), sum.checksum());
        assert_eq!(finished(&bytes, csum, room).bytes, expected);
    }
}

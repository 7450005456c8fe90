//! Tests of transmit queues with descriptors in RAM, as drivers fill them.

use std::time::Duration;

use net::frame::{Csum, Gso, GsoKind};
use net::ring::{Next, TxRing};

use super::*;
use crate::ring::testing::{CqDriver, Queues, SqDriver, control, meta};
use crate::ring::{CqConfig, Placement};

pub(super) struct Fixture {
    pub queues: Queues,
    pub driver: SqDriver,
    pub tx: Tx,
    pub frame: TxFrame,
}

impl Fixture {
    pub fn new(depth: u16) -> Fixture {
        Fixture::with(depth, |_| {})
    }

    pub fn with(depth: u16, change: impl FnOnce(&mut TxConfig)) -> Fixture {
        let queues = Queues::new();
        let mut config = queues.tx_config(depth);
        change(&mut config);
        let driver = SqDriver::tx(&config);
        let frame = TxFrame::new(queues.memory.clone());
        Fixture { driver, tx: Tx::new(config).unwrap(), frame, queues }
    }

    /// Writes a packet of one buffer and rings.
    fn send(&mut self, id: u16, bytes: &[u8]) {
        let at = self.queues.buffer(bytes);
        self.driver.packet(id, 0, None, &[(at, bytes.len() as u32)]);
        self.driver.ring();
    }

    fn next(&mut self) -> Result<Next, GuestFault> {
        self.tx.next(&mut self.frame)
    }

    /// Takes one frame, as the backend would see it, and completes it.
    fn take(&mut self) -> Vec<u8> {
        let Next::Frame(token) = self.next().unwrap() else { panic!("there is a frame") };
        self.tx.complete(token).unwrap();
        bytes(&self.frame)
    }
}

pub(super) fn bytes(frame: &TxFrame) -> Vec<u8> {
    let mut body = vec![0; frame.body.len()];
    assert!(frame.body.read_at(0, &mut body));
    [frame.head.bytes(), &body].concat()
}

/// `len` bytes that differ.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

#[test]
fn a_packet_leaves_as_it_was_written_and_is_completed_with_its_id_and_the_head() {
    for len in [14, 60, 127, 128, 129, 1514, 9230] {
        let mut one = Fixture::new(256);
        one.send(0xffff, &frame(len));
        assert_eq!(one.take(), frame(len));
        assert_eq!(one.driver.completions.take_all(), [[0x0100_ffff, 0x0001_0000]]);
        assert_eq!(one.next().unwrap(), Next::Empty);
    }
}

#[test]
fn the_descriptor_of_the_specification_sends_its_60_bytes() {
    let mut one = Fixture::with(256, |config| {
        config.memory = device_core::testing::ram_at(&[(0, 0x200_0000), (0x1234_5000, 0x1000)]);
        config.placement = Placement::Host { base: 0x1_0000 };
    });
    one.frame = TxFrame::new(one.driver.memory.clone());
    one.driver.push_raw([0x1D00_003C, 0x0140_0000, 0x1234_5000, 0x3C00_0000]);
    one.driver.ring();
    assert_eq!(one.take(), [0; 60]);
    assert_eq!(one.driver.completions.take().unwrap()[0], 0x0100_0005);
}

#[test]
fn a_packet_of_19_buffers_and_a_meta_descriptor_leaves_whole_with_one_completion() {
    let mut one = Fixture::new(256);
    let sent = frame(1900);
    let buffers: Vec<_> =
        sent.chunks(100).map(|piece| (one.queues.buffer(piece), piece.len() as u32)).collect();
    one.driver.packet(3, 0, Some(meta(0, 14, 20, 0)), &buffers);
    one.driver.ring();
    assert_eq!(one.take(), sent);
    assert_eq!(one.driver.completions.take_all(), [[0x0100_0003, 20 << 16]]);
}

#[test]
fn int_5_transmit_completions_have_a_delay_of_their_own() {
    let mut one = Fixture::new(256);
    let start = Instant::now();
    one.queues.vector.write(1 << 30 | 64 << 15);
    one.send(1, &frame(60));
    one.take();
    assert!(!one.tx.publish().unwrap());
    let due = start + Duration::from_micros(64);
    assert_eq!(one.tx.put_off(start), PutOff { fired: false, until: Some(due) });
    assert_eq!(one.queues.msi.delivered(), 0);
    assert!(one.tx.put_off(due).fired);
    assert_eq!(one.queues.msi.delivered(), 1);
}

#[test]
fn three_packets_under_one_doorbell_get_three_completions_and_one_interrupt() {
    let mut one = Fixture::new(256);
    one.queues.vector.write(1 << 30);
    for id in 0..3 {
        let at = one.queues.buffer(&frame(60));
        one.driver.packet(id, 0, None, &[(at, 60)]);
    }
    one.driver.ring();
    (0..3).for_each(|_| drop(one.take()));
    assert!(one.tx.publish().unwrap());
    assert!(!one.tx.publish().unwrap());
    assert_eq!(one.driver.completions.take_all().len(), 3);
    assert_eq!(one.queues.msi.delivered(), 1);
}

#[test]
fn phases_flip_at_each_lap_of_both_rings() {
    let mut one = Fixture::with(4, |config| {
        config.completions = CqConfig { base: config.completions.base, depth: 2, entry_words: 4 };
    });
    for id in 0..40 {
        one.send(id, &frame(60));
        one.take();
        let entry = one.driver.completions.take().unwrap();
        assert_eq!((entry[0] as u16, entry[1] >> 16), (id, u32::from(id) + 1));
        assert_eq!(entry[2..], [0, 0]);
        assert_eq!(one.driver.completions.take(), None);
    }
}

#[test]
fn a_counter_that_wraps_loses_nothing() {
    let mut one = Fixture::new(2);
    let at = one.queues.buffer(&frame(60));
    for round in 0..70_000u32 {
        one.driver.packet(round as u16, 0, None, &[(at, 60)]);
        one.driver.ring();
        one.take();
        assert_eq!(one.driver.completions.take().unwrap()[0] as u16, round as u16);
    }
}

#[test]
fn what_is_beyond_the_tail_is_not_read() {
    let mut one = Fixture::new(256);
    one.driver.push([0xffff_ffff; 4]);
    assert_eq!(one.next().unwrap(), Next::Empty);
    assert!(one.tx.may_sleep().unwrap());
}

#[test]
fn a_doorbell_in_the_middle_of_a_packet_waits_for_the_rest() {
    let mut one = Fixture::new(256);
    let (a, b) = (one.queues.buffer(&frame(100)), one.queues.buffer(&frame(50)));
    one.driver.packet(1, 0, None, &[(a, 100), (b, 50)]);
    one.driver.ring_for(1);
    for _ in 0..3 {
        assert_eq!(one.next().unwrap(), Next::Empty);
        assert!(one.tx.may_sleep().unwrap());
    }
    one.driver.ring();
    assert_eq!(one.take(), [frame(100), frame(50)].concat());
}

#[test]
fn a_frame_put_back_comes_again_with_all_it_had() {
    let mut one = Fixture::new(256);
    let sent = tcp4(64);
    let at = one.queues.buffer(&sent);
    one.driver.packet(1, control::TCP4_PARTIAL, Some(meta(0, 14, 20, 0)), &[(at, 118)]);
    one.driver.packet(2, control::TCP4_PARTIAL, None, &[(at, 118)]);
    one.driver.ring();
    for _ in 0..2 {
        let Next::Frame(token) = one.next().unwrap() else { panic!("there is a frame") };
        assert_eq!(one.frame.meta.csum, Csum::Needed { start: 34, offset: 16 });
        assert_eq!(bytes(&one.frame), sent);
        one.tx.put_back(token);
    }
    assert_eq!(one.driver.completions.take(), None);
    one.take();
    one.take();
    let ids: Vec<_> =
        one.driver.completions.take_all().iter().map(|entry| entry[0] as u16).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_packet_that_wants_no_completion_gets_none() {
    let mut one = Fixture::new(256);
    let at = one.queues.buffer(&frame(60));
    one.driver.push([1 << 26 | 1 << 27 | 60, 0, at as u32, 0]);
    one.driver.ring();
    assert_eq!(one.take(), frame(60));
    assert!(!one.tx.publish().unwrap());
    assert_eq!(one.driver.completions.take(), None);
}

#[test]
fn a_buffer_of_no_bytes_adds_none_wherever_it_lies() {
    let mut one = Fixture::new(256);
    let at = one.queues.buffer(&frame(60));
    one.driver.packet(1, 0, None, &[(0xffff_ffff_f000, 0), (at, 60)]);
    one.driver.ring();
    assert_eq!(one.take(), frame(60));
}

#[test]
fn an_unusable_packet_is_completed_with_a_status_and_the_next_one_goes() {
    let outside = |one: &mut Fixture| one.driver.packet(9, 0, None, &[(0x1_0000_0000, 60)]);
    let across = |one: &mut Fixture| one.driver.packet(9, 0, None, &[(0x1ff_ffc0, 0xffff)]);
    let short = |one: &mut Fixture| one.driver.packet(9, 0, None, &[(0x40_0000, 13)]);
    let long = |one: &mut Fixture| one.driver.packet(9, 0, None, &[(0x40_0000, 9239)]);
    let cases: [fn(&mut Fixture); 4] = [outside, across, short, long];
    for write in cases {
        let mut one = Fixture::new(256);
        write(&mut one);
        one.send(10, &frame(60));
        let Next::Malformed(token) = one.next().unwrap() else { panic!("it cannot be sent") };
        one.tx.complete(token).unwrap();
        assert_eq!(one.take(), frame(60));
        let entries = one.driver.completions.take_all();
        assert_eq!([entries[0][0], entries[1][0]], [0x0101_0009, 0x0100_000a]);
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_given_up() {
    const FIRST: u32 = 1 << 26;
    const LAST: u32 = 1 << 27;
    const META: u32 = 1 << 23;
    let cases: [(&[u32], GuestFault); 6] = [
        (&[LAST], NO_FIRST),
        (&[FIRST, FIRST | LAST], SECOND_FIRST),
        (&[FIRST, META, LAST], STRAY_META),
        (&[FIRST | META, META, LAST], STRAY_META),
        (&[FIRST | META | LAST], STRAY_META),
        (&[FIRST | META, FIRST | LAST], SECOND_FIRST),
    ];
    for (words, fault) in cases {
        let mut one = Fixture::new(256);
        words.iter().for_each(|word| one.driver.push([*word | 60, 0, 0, 0]));
        one.driver.ring();
        assert_eq!(one.next(), Err(fault), "{words:x?}");
        one.tx.broken(fault);
        assert_eq!(one.queues.faults.seen(), [(Direction::Tx, 0, fault)]);
    }
}

#[test]
fn a_packet_without_end_is_given_up_at_the_bound() {
    let mut one = Fixture::new(256);
    (0..200).for_each(|at| one.driver.push([if at == 0 { 1 << 26 } else { 0 }, 0, 0, 0]));
    one.driver.ring();
    assert_eq!(one.next(), Err(TOO_LONG));
}

#[test]
fn a_descriptor_of_an_older_lap_is_given_up() {
    let mut one = Fixture::new(256);
    one.driver.push_raw([1 << 26 | 1 << 27 | 60, 0, 0, 0]);
    one.driver.ring();
    assert!(one.next().is_err());
}

#[test]
fn a_tail_further_than_the_ring_or_behind_is_given_up() {
    for tail in [257, 0xffff, 0x8000] {
        let mut one = Fixture::new(256);
        one.driver.ring_for(tail);
        assert_eq!(one.next(), Err(WILD_TAIL), "{tail}");
    }
}

#[test]
fn the_upper_half_of_a_doorbell_counts_for_nothing_and_still_lets_the_lane_sleep() {
    let mut one = Fixture::new(256);
    one.driver.ring_for(0xabcd_0000);
    assert_eq!(one.next().unwrap(), Next::Empty);
    assert!(one.tx.may_sleep().unwrap());
}

/// TCP over IPv4 with `payload` bytes, checksum seeded as Linux does.
fn tcp4(payload: usize) -> Vec<u8> {
    let mut bytes = frame(54 + payload);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&(40 + payload as u16).to_be_bytes());
    bytes[20..22].copy_from_slice(&[0, 0]);
    bytes[23] = 6;
    bytes
}

#[test]
fn offloads_without_a_meta_descriptor_use_the_stored_one_and_a_new_ring_has_none() {
    let mut one = Fixture::new(256);
    let at = one.queues.buffer(&tcp4(0));
    let needed = Csum::Needed { start: 34, offset: 16 };
    one.driver.packet(1, control::TCP4_PARTIAL, Some(meta(0, 14, 20, 0)), &[(at, 54)]);
    one.driver.packet(2, control::TCP4_PARTIAL, None, &[(at, 54)]);
    one.driver.packet(3, 0, None, &[(at, 54)]);
    // Says nothing, and is not stored.
    one.driver.packet(4, control::TCP4_PARTIAL, Some([1 << 23 | 1 << 26, 0, 0, 0]), &[(at, 54)]);
    one.driver.ring();
    for expected in [needed, needed, Csum::Unknown, needed] {
        one.take();
        assert_eq!(one.frame.meta.csum, expected);
    }
    let mut fresh = Fixture::new(256);
    let at = fresh.queues.buffer(&tcp4(0));
    fresh.driver.packet(1, control::TCP4_FULL, None, &[(at, 54)]);
    fresh.driver.ring();
    assert!(matches!(fresh.next().unwrap(), Next::Malformed(_)));
}

#[test]
fn a_large_tcp_packet_leaves_for_the_backend_to_cut() {
    let mut one = Fixture::new(256);
    let sent = tcp4(10_000);
    // Headers over three buffers.
    let pieces = [&sent[..1], &sent[1..21], &sent[21..]];
    let buffers = pieces.map(|piece| (one.queues.buffer(piece), piece.len() as u32));
    one.driver.packet(7, control::TSO4, Some(meta(1448, 14, 20, 5)), &buffers);
    one.driver.ring();
    one.take();
    let gso = Gso { kind: GsoKind::Tcp4, ecn: sent[47] & 0x80 != 0, segment: 1448, headers: 54 };
    assert_eq!(one.frame.meta.gso, Some(gso));
    assert_eq!(one.frame.meta.csum, Csum::Needed { start: 34, offset: 16 });
    assert_eq!(one.driver.completions.take_all().len(), 1);
}

#[test]
fn an_offload_that_was_not_offered_is_not_done() {
    let mut one = Fixture::with(256, |config| config.offloads = Offloads::CSUM);
    let at = one.queues.buffer(&tcp4(10_000));
    one.driver.packet(7, control::TSO4, Some(meta(1448, 14, 20, 5)), &[(at, 10_054)]);
    one.driver.packet(8, control::TCP4_FULL, None, &[(at, 1054)]);
    one.driver.ring();
    let Next::Malformed(token) = one.next().unwrap() else { panic!("it was not offered") };
    one.tx.complete(token).unwrap();
    assert!(matches!(one.next().unwrap(), Next::Frame(_)));
}

#[test]
fn only_sound_rings_are_made() {
    let queues = Queues::new();
    let made = |change: fn(&mut TxConfig)| {
        let mut config = queues.tx_config(256);
        change(&mut config);
        Tx::new(config).err()
    };
    let host = |base| Placement::Host { base };
    assert_eq!(made(|_| {}), None);
    assert_eq!(made(|config| config.depth = 100), Some(BadRing::Depth(100)));
    assert_eq!(made(|config| config.depth = 1), Some(BadRing::Depth(1)));
    assert!(matches!(
        made(|c| c.placement = Placement::Host { base: 4 }),
        Some(BadRing::Range { .. })
    ));
    assert_eq!(made(|config| config.completions.entry_words = 8), Some(BadRing::EntryWords(8)));
    let mut config = queues.tx_config(256);
    config.placement = host(crate::ring::testing::MEMORY as u64 - 256 * 16 + 8);
    assert!(matches!(Tx::new(config), Err(BadRing::Range { .. })));
    let mut config = queues.tx_config(256);
    config.placement = host(u64::MAX - 7);
    assert!(matches!(Tx::new(config), Err(BadRing::Range { .. })));
}

#[test]
fn a_polling_driver_sees_completions_without_an_interrupt() {
    let mut one = Fixture::with(256, |config| config.vector = None);
    one.send(1, &frame(60));
    one.take();
    assert!(!one.tx.publish().unwrap());
    let config = CqConfig { base: 0x10_0000, depth: 256, entry_words: 2 };
    assert_eq!(CqDriver::new(&one.queues.memory, config).take_all().len(), 1);
}

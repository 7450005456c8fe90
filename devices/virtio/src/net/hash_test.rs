//! Tests of receive-side scaling and hash reports, as a driver sees them.

use device_core::bus::Width;
use device_core::testing::{TestMachine, ram};
use net::backend::NetQueue;
use net::backend::script::stage;
use net::port::NetPort;
use net::rss::{Fields, Key, Protocol, Rss};
use proptest::prelude::*;

use super::Net;
use crate::device::VirtioDevice;
use crate::testing::nic::{ABLE, CTRL, HASH_REPORT, MAC, MQ, MRG_RXBUF, Nic, RSS};
use crate::testing::ring::{readable, writable};

const OK: Option<u8> = Some(0);
const ERR: Option<u8> = Some(1);
const QUEUES: u8 = 4;
const PAIRS_SET: u8 = 0;
const RSS_CONFIG: u8 = 1;
const HASH_CONFIG: u8 = 2;

const LANES: u16 = 4;
/// IPv4, TCPv4, UDPv4, IPv6, TCPv6, UDPv6.
const ALL_TYPES: u32 = 0x3f;
const MICROSOFT: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

fn started(features: u64) -> Nic {
    let mut nic = Nic::with(LANES, ABLE, true);
    nic.start(CTRL | features);
    nic
}

/// A command with as many entries as `table` has.
fn config(types: u32, unclassified: u16, table: &[u16], pairs: u16, key: &[u8]) -> Vec<u8> {
    let mut bytes = types.to_le_bytes().to_vec();
    bytes.extend((table.len() as u16).wrapping_sub(1).to_le_bytes());
    bytes.extend(unclassified.to_le_bytes());
    bytes.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
    bytes.extend(pairs.to_le_bytes());
    bytes.push(key.len() as u8);
    bytes.extend(key);
    bytes
}

fn spread() -> Vec<u16> {
    (0..128).map(|entry| entry % LANES).collect()
}

fn usual() -> Vec<u8> {
    config(ALL_TYPES, 0, &spread(), LANES, &MICROSOFT)
}

/// The first flow of the Microsoft suite, as TCP, UDP or ICMP.
fn packet(protocol: u8) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].fill(0xff);
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[23] = protocol;
    frame[26..34].copy_from_slice(&[66, 9, 149, 187, 161, 142, 100, 80]);
    frame[34..36].copy_from_slice(&2794u16.to_be_bytes());
    frame[36..38].copy_from_slice(&1766u16.to_be_bytes());
    frame
}

fn steered(nic: &Nic) -> Option<Rss> {
    nic.stages[0].scene().steered.clone()
}

/// Which queues but the first the host may use; that one it always may.
fn enabled(nic: &Nic) -> Vec<bool> {
    nic.stages.iter().skip(1).map(|stage| stage.scene().enabled).collect()
}

#[test]
fn several_pairs_offer_scaling_and_say_its_limits() {
    let nic = started(0);
    assert_eq!(nic.net.features() & (RSS | HASH_REPORT), RSS | HASH_REPORT);
    assert_eq!(nic.net.read_config(17, Width::B1), 40);
    assert_eq!(nic.net.read_config(18, Width::B2), 128);
    assert_eq!(nic.net.read_config(20, Width::B4), u64::from(ALL_TYPES));

    let single = Nic::new();
    assert_eq!(single.net.features() & (RSS | HASH_REPORT), 0);
    assert_eq!(single.net.read_config(16, Width::B8), 1);
}

#[test]
fn what_a_driver_configures_is_what_frames_are_steered_by() {
    let mut nic = started(MQ | RSS);
    assert_eq!(steered(&nic), None);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    let rss = steered(&nic).unwrap();
    assert_eq!((rss.key, rss.initial), (Key(MICROSOFT), 0));
    assert_eq!(rss.table.entries(), spread());
    for protocol in Protocol::ALL {
        let expected =
            if protocol == Protocol::NotIp { Fields::empty() } else { protocol.fields() };
        assert_eq!(rss.fields.of(protocol), expected, "{protocol:?}");
    }
    assert_eq!(enabled(&nic), [true; 3], "a table may name any queue");

    let short = config(1 | 2, 3, &[2, 1], 1, &[0x80]);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &short), OK);
    let rss = steered(&nic).unwrap();
    assert_eq!((rss.key.0[0], rss.key.0[1..].iter().max()), (0x80, Some(&0)));
    assert_eq!((rss.table.entries(), rss.table.unhashed()), (&[2, 1][..], 3));
    assert_eq!(rss.fields.of(Protocol::Tcp4), Fields::ADDRESSES | Fields::PORTS);
    assert_eq!(rss.fields.of(Protocol::Udp4), Fields::ADDRESSES);
    assert_eq!(rss.fields.of(Protocol::Ip4Fragment), Fields::ADDRESSES);
    assert_eq!(rss.fields.of(Protocol::Tcp6), Fields::empty());
}

#[test]
fn padding_behind_the_key_does_no_harm() {
    // Linux 6.12 sends the size of its structure, which ends in a byte of padding.
    let mut nic = started(MQ | RSS | HASH_REPORT);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &[usual(), vec![0]].concat()), OK);
    assert_eq!(steered(&nic).unwrap().key, Key(MICROSOFT));
    let hash = config(ALL_TYPES, 0, &[0], LANES, &MICROSOFT);
    assert_eq!(nic.command(QUEUES, HASH_CONFIG, &[hash, vec![0]].concat()), OK);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &[usual(), vec![7; 5000]].concat()), OK);
}

#[test]
fn the_last_command_decides_who_steers() {
    let mut nic = started(MQ | RSS | HASH_REPORT);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    assert_eq!(nic.command(QUEUES, PAIRS_SET, &[2, 0]), OK);
    assert_eq!(steered(&nic), None);
    assert_eq!(enabled(&nic), [true, false, false]);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    assert!(steered(&nic).is_some());
    let hash = config(ALL_TYPES, 0, &[0], 1, &MICROSOFT);
    assert_eq!(nic.command(QUEUES, HASH_CONFIG, &hash), OK);
    assert_eq!(steered(&nic), None);
}

#[test]
fn a_stop_keeps_the_configuration_and_a_reset_forgets_it() {
    let features = CTRL | MQ | RSS;
    let mut nic = started(MQ | RSS);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    let before = steered(&nic);
    let queues = nic.net.unplug();
    nic.net.plug(features, queues, nic.notice.clone()).unwrap();
    assert_eq!(steered(&nic), before);
    drop(nic.net.unplug());
    nic.net.reset();
    assert_eq!(steered(&nic), None);
}

#[test]
fn malformed_configurations_are_refused_and_change_nothing() {
    let mut nic = started(MQ | RSS | HASH_REPORT);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    let before = steered(&nic);
    let table = spread();
    let cases: &[(&str, Vec<u8>)] = &[
        ("nothing", vec![]),
        ("cut off", usual()[..usual().len() - 1].to_vec()),
        ("a type not offered", config(1 << 6, 0, &table, 4, &MICROSOFT)),
        ("an unknown type", config(1 << 31, 0, &table, 4, &MICROSOFT)),
        ("a table of three", config(1, 0, &[0, 1, 2], 4, &MICROSOFT)),
        ("a table too large", config(1, 0, &vec![0; 256], 4, &MICROSOFT)),
        ("no table", config(1, 0, &[], 4, &MICROSOFT)),
        ("a queue that is none", config(1, 0, &[0, 4], 4, &MICROSOFT)),
        ("a reserved bit", config(1, 0, &[0x8000], 4, &MICROSOFT)),
        ("unclassified to none", config(1, 4, &table, 4, &MICROSOFT)),
        ("no pairs", config(1, 0, &table, 0, &MICROSOFT)),
        ("too many pairs", config(1, 0, &table, 5, &MICROSOFT)),
        ("a key too long", config(1, 0, &table, 4, &[0; 41])),
        ("64 KiB of ones", vec![1; 65_536]),
    ];
    for (name, bytes) in cases {
        assert_eq!(nic.command(QUEUES, RSS_CONFIG, bytes), ERR, "{name}");
    }
    assert_eq!(nic.command(QUEUES, HASH_CONFIG, &[0; 12]), ERR);
    assert_eq!(nic.command(QUEUES, 3, &usual()), ERR);
    assert_eq!(steered(&nic), before);

    let mut nic = started(MQ);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), ERR, "not negotiated");
    assert_eq!(nic.command(QUEUES, HASH_CONFIG, &[0; 13]), ERR, "not negotiated");
}

#[test]
fn scaling_without_mq_has_all_pairs_too() {
    let mut nic = started(RSS);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    assert_eq!(nic.command(QUEUES, PAIRS_SET, &[1, 0]), ERR);
}

/// Hash and type that come with a frame.
fn reported(nic: &mut Nic, frame: Vec<u8>) -> (u32, u16) {
    let posted = nic.post(1, 1, 2048);
    nic.stages[1].bring(frame.clone());
    nic.settle();
    let (head, len) = nic.pairs[1].rx.take().unwrap();
    assert_eq!(len as usize, 20 + frame.len());
    let bytes = nic.read(posted.iter().find(|posted| posted.0 == head).unwrap().1, len as usize);
    assert_eq!(bytes[10..12], [1, 0]);
    assert_eq!(bytes[18..20], [0, 0]);
    assert_eq!(bytes[20..], frame);
    let value = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    (value, u16::from_le_bytes(bytes[16..18].try_into().unwrap()))
}

#[test]
fn each_frame_comes_with_its_hash_and_what_was_hashed() {
    let mut nic = started(MQ | RSS | HASH_REPORT | MRG_RXBUF);
    assert_eq!(reported(&mut nic, packet(6)), (0, 0), "nothing is hashed before it is configured");
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    assert_eq!(reported(&mut nic, packet(6)), (0x51cc_c178, 2));
    assert_eq!(reported(&mut nic, packet(17)), (0x51cc_c178, 3));
    assert_eq!(reported(&mut nic, packet(1)), (0x323e_8fc2, 1));
    assert_eq!(reported(&mut nic, vec![0xff; 60]), (0, 0));

    let addresses = config(1, 0, &spread(), LANES, &MICROSOFT);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &addresses), OK);
    assert_eq!(reported(&mut nic, packet(6)), (0x323e_8fc2, 1));
}

#[test]
fn hashes_can_be_had_without_scaling() {
    let mut nic = started(MQ | HASH_REPORT);
    // As Linux sends it: reserved places hold the rest of its structure.
    let hash = config(ALL_TYPES, 0, &[0], LANES, &MICROSOFT);
    assert_eq!(nic.command(QUEUES, HASH_CONFIG, &hash), OK);
    assert_eq!(reported(&mut nic, packet(6)), (0x51cc_c178, 2));
    assert_eq!(nic.command(QUEUES, PAIRS_SET, &[2, 0]), OK);
    assert_eq!(reported(&mut nic, packet(6)), (0x51cc_c178, 2));
}

#[test]
fn without_reports_headers_stay_short_even_with_scaling() {
    let mut nic = started(MQ | RSS);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    nic.post(0, 1, 2048);
    nic.stages[0].bring(packet(6));
    nic.settle();
    assert_eq!(nic.pairs[0].rx.take().unwrap().1, 12 + 60);
}

#[test]
fn frames_to_send_have_the_long_header_too() {
    let mut nic = started(MQ | HASH_REPORT);
    let at = nic.buffer(256);
    nic.write(at + 20, &packet(6));
    nic.pairs[0].tx.offer(&[readable(at, 20), readable(at + 20, 60)]);
    // A header that is cut off makes no frame.
    nic.pairs[0].tx.offer(&[readable(at, 19)]);
    nic.pairs[0].tx.kick();
    nic.settle();
    let sent = nic.stages[0].take_sent();
    assert_eq!((sent.len(), &sent[0].bytes), (1, &packet(6)));
    assert_eq!(nic.total("tx_malformed"), 1);
}

#[test]
fn a_buffer_that_does_not_hold_the_long_header_breaks_the_queue() {
    let mut nic = started(MQ | HASH_REPORT);
    let at = nic.buffer(64);
    nic.pairs[0].rx.offer(&[writable(at, 19)]);
    nic.pairs[0].rx.kick();
    nic.stages[0].bring(packet(6));
    nic.settle();
    assert_eq!(nic.notice.resets_asked(), 1);
}

#[test]
fn a_host_that_cannot_steer_sorts_each_flow_onto_its_queue() {
    let (mut backend, queues, stages) = stage(LANES, ABLE).unwrap();
    backend.steers = false;
    let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>).collect();
    let machine = TestMachine::new(ram(0x200_0000));
    let port = NetPort::with_backend("test", Box::new(backend), queues, &machine.kit()).unwrap();
    let net = Net::on_port("test", MAC, port, &machine.kit());
    assert_eq!(net.features() & (RSS | HASH_REPORT), 0, "drivers would take it at once");
    let mut nic = Nic::of(machine, net, stages, LANES, true);
    nic.start(CTRL | MQ | RSS);
    for pair in 0..usize::from(LANES) {
        nic.post(pair, 64, 2048);
    }
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &usual()), OK);
    assert_eq!(enabled(&nic), [false; 3]);
    // 0x51ccc178 mod 128 is 120; with another port it is elsewhere.
    let rss = net::rss::Hasher::new(steered(&nic).unwrap());
    let mut expected = [0; LANES as usize];
    for port in 0..64 {
        let mut frame = packet(6);
        frame[34] = port;
        expected[usize::from(rss.lane(rss.hash(&frame)))] += 1;
        nic.stages[0].bring(frame);
    }
    let begin = std::time::Instant::now();
    let mut got = [0; LANES as usize];
    while got != expected {
        nic.settle();
        for (pair, got) in nic.pairs.iter_mut().zip(&mut got) {
            *got += pair.rx.take_all().len();
        }
        assert!(begin.elapsed().as_secs() < 10, "{got:?} of {expected:?}");
    }
    assert!(expected.iter().all(|count| *count > 0));
    assert_eq!((nic.total("rx_sorted"), nic.total("rx_sort_overflow")), (64, 0));

    // Back to what the host likes: every queue has its own frames.
    assert_eq!(nic.command(QUEUES, PAIRS_SET, &[LANES as u8, 0]), OK);
    nic.stages[2].bring(packet(6));
    nic.settle();
    assert_eq!(nic.pairs[2].rx.take_all().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_configuration_steers_to_a_queue_that_is_none(
        command in 0..4u8,
        types in prop_oneof![0..0x80u32, any::<u32>()],
        table in prop::collection::vec(0..6u16, 0..130),
        unclassified in 0..6u16,
        pairs in 0..6u16,
        key in prop::collection::vec(any::<u8>(), 0..42),
        cut in 0..400usize,
    ) {
        let mut nic = started(MQ | RSS | HASH_REPORT);
        let mut bytes = config(types, unclassified, &table, pairs, &key);
        bytes.truncate(cut);
        let answer = nic.command(QUEUES, command, &bytes);
        prop_assert!(answer == OK || answer == ERR);
        if let Some(rss) = steered(&nic) {
            prop_assert!(rss.table.entries().iter().all(|entry| *entry < LANES));
            prop_assert!(rss.table.unhashed() < LANES);
            prop_assert_eq!(answer, OK);
        }
        prop_assert_eq!(nic.notice.resets_asked(), 0);
    }
}

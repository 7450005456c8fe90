//! Tests of the control queue, several pairs, and the configuration.

use device_core::bus::Width;
use net::backend::Limits;
use net::frame::Offloads;
use net::mac::MacAddr;

use crate::device::VirtioDevice;
use crate::testing::nic::{
    ABLE, CTRL, GUEST_OFFLOADS, MAC, MQ, MRG_RXBUF, Nic, RX_OFFLOADS, TX_OFFLOADS,
};
use crate::testing::ring::{readable, writable};

const OK: Option<u8> = Some(0);
const ERR: Option<u8> = Some(1);

const RX: u8 = 0;
const MAC_CLASS: u8 = 1;
const PAIRS: u8 = 4;
const OFFLOADS: u8 = 5;

fn started(features: u64) -> Nic {
    let mut nic = Nic::new();
    nic.start(CTRL | features);
    nic
}

fn frame_to(mac: MacAddr) -> Vec<u8> {
    [mac.0.as_slice(), &[0; 54]].concat()
}

const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const GROUP: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);

/// Which frames to own, other, group and broadcast addresses arrive.
fn arriving(nic: &mut Nic) -> [bool; 4] {
    [MAC, OTHER, GROUP, MacAddr::BROADCAST].map(|to| {
        nic.post(0, 1, 2048);
        nic.stages[0].bring(frame_to(to));
        nic.settle();
        let arrived = nic.pairs[0].rx.take().is_some();
        if !arrived {
            // Use the buffer up.
            assert_eq!(nic.command(RX, 0, &[1]), OK);
            nic.stages[0].bring(frame_to(MAC));
            nic.settle();
            nic.pairs[0].rx.take().unwrap();
            assert_eq!(nic.command(RX, 0, &[0]), OK);
        }
        arrived
    })
}

#[test]
fn the_receive_mode_decides_which_frames_arrive() {
    let mut nic = started(0);
    assert_eq!(arriving(&mut nic), [true; 4], "promiscuous until the driver says otherwise");
    assert_eq!(nic.command(RX, 0, &[0]), OK);
    assert_eq!(arriving(&mut nic), [true, false, false, true]);
    assert_eq!(nic.command(RX, 1, &[1]), OK);
    assert_eq!(arriving(&mut nic), [true, false, true, true]);
    assert_eq!(nic.command(RX, 2, &[1]), OK);
    assert_eq!(arriving(&mut nic), [true; 4]);
    for extra in [3, 4, 5] {
        assert_eq!(nic.command(RX, extra, &[1]), OK);
    }
    assert_eq!(arriving(&mut nic), [false; 4]);
    assert!(nic.total("rx_filtered") > 0);
}

#[test]
fn address_tables_let_their_addresses_through() {
    let mut nic = started(0);
    assert_eq!(nic.command(RX, 0, &[0]), OK);
    let tables = [&[1, 0, 0, 0], &OTHER.0[..], &[1, 0, 0, 0], &GROUP.0].concat();
    assert_eq!(nic.command(MAC_CLASS, 0, &tables), OK);
    assert_eq!(arriving(&mut nic), [true; 4]);
    assert_eq!(nic.command(MAC_CLASS, 0, &[0; 8]), OK);
    assert_eq!(arriving(&mut nic), [true, false, false, true]);
    // More groups than are kept: all pass.
    let many = [vec![0, 0, 0, 0, 0, 4, 0, 0], vec![1; 6 * 1024]].concat();
    assert_eq!(nic.command(MAC_CLASS, 0, &many), OK);
    assert_eq!(arriving(&mut nic), [true, false, true, true]);
}

#[test]
fn a_new_address_shows_in_the_configuration_and_in_the_filter() {
    let mut nic = started(0);
    assert_eq!(nic.net.read_config(0, Width::B4), 0x0000_0002);
    assert_eq!(nic.command(RX, 0, &[0]), OK);
    assert_eq!(nic.command(MAC_CLASS, 1, &OTHER.0), OK);
    assert_eq!(nic.net.read_config(5, Width::B1), 9);
    assert_eq!(arriving(&mut nic), [false, true, false, true]);

    drop(nic.net.unplug());
    nic.net.reset();
    assert_eq!(nic.net.read_config(5, Width::B1), 1, "a reset brings the first address back");
}

#[test]
fn malformed_commands_are_refused_and_change_nothing() {
    let table_of = |count: u32, bytes: usize| {
        [count.to_le_bytes().to_vec(), vec![2; bytes], vec![0; 4]].concat()
    };
    let cases: &[(&str, u8, u8, Vec<u8>)] = &[
        ("unknown class", 9, 0, vec![0]),
        ("VLAN was not offered", 2, 0, vec![1, 0]),
        ("announce was not offered", 3, 0, vec![]),
        ("unknown receive mode", RX, 6, vec![0]),
        ("receive mode without value", RX, 0, vec![]),
        ("receive mode of two bytes", RX, 0, vec![0, 0]),
        ("unknown address command", MAC_CLASS, 2, vec![0; 6]),
        ("short address", MAC_CLASS, 1, OTHER.0[..5].to_vec()),
        ("long address", MAC_CLASS, 1, [&OTHER.0[..], &[0]].concat()),
        ("group address", MAC_CLASS, 1, GROUP.0.to_vec()),
        ("zero address", MAC_CLASS, 1, vec![0; 6]),
        ("no tables", MAC_CLASS, 0, vec![]),
        ("one table", MAC_CLASS, 0, vec![0; 4]),
        ("short table", MAC_CLASS, 0, table_of(2, 6)),
        ("rest behind tables", MAC_CLASS, 0, vec![0; 9]),
        ("table of 2^32 addresses", MAC_CLASS, 0, table_of(u32::MAX, 600)),
        ("pairs without MQ", PAIRS, 0, vec![1, 0]),
        ("offloads not negotiated", OFFLOADS, 0, vec![0; 8]),
    ];
    let mut nic = started(0);
    assert_eq!(nic.command(RX, 0, &[0]), OK);
    for (name, class, command, data) in cases {
        assert_eq!(nic.command(*class, *command, data), ERR, "{name}");
    }
    assert_eq!(arriving(&mut nic), [true, false, false, true]);
    assert_eq!(nic.notice.resets_asked(), 0);
}

#[test]
fn a_command_without_room_for_an_answer_still_comes_back() {
    let mut nic = started(0);
    let at = nic.buffer(64);
    nic.control.offer(&[readable(at, 3)]);
    nic.control.offer(&[writable(at, 1)]);
    nic.control.offer(&[readable(at, 1), writable(at + 32, 1)]);
    nic.control.kick();
    nic.settle();
    let lens: Vec<_> = nic.control.take_all().iter().map(|(_, len)| *len).collect();
    assert_eq!(lens, [0, 1, 1]);
}

#[test]
fn a_broken_control_queue_asks_for_a_reset_and_leaves_the_data_path_alone() {
    let mut nic = started(0);
    nic.control.offer(&[readable(u64::MAX - 7, 2), writable(0x100_0000, 1)]);
    nic.control.kick();
    nic.settle();
    assert_eq!(nic.notice.resets_asked(), 1);
    nic.send(&frame_to(OTHER));
    assert_eq!(nic.stages[0].take_sent().len(), 1);
    nic.control.force_kick();
    nic.settle();
    assert_eq!(nic.notice.resets_asked(), 1);
    assert_eq!(nic.net.unplug().len(), 3, "the broken queue comes home too");
}

#[test]
fn offloads_can_be_switched_within_what_was_negotiated() {
    let mut nic = started(RX_OFFLOADS | GUEST_OFFLOADS);
    let accepted = |nic: &Nic| nic.stages[0].scene().accepted;
    assert!(accepted(&nic).contains(Offloads::TSO4 | Offloads::CSUM | Offloads::USO6));
    assert_eq!(nic.command(OFFLOADS, 0, &2u64.to_le_bytes()), OK);
    assert_eq!(accepted(&nic), Offloads::CSUM);
    // GUEST_ECN was not negotiated.
    assert_eq!(nic.command(OFFLOADS, 0, &(1u64 << 9).to_le_bytes()), ERR);
    assert_eq!(nic.command(OFFLOADS, 1, &2u64.to_le_bytes()), ERR);
    assert_eq!(nic.command(OFFLOADS, 0, &[0; 4]), ERR);
    assert_eq!(accepted(&nic), Offloads::CSUM);
    // A stop keeps what was set, a reset forgets it.
    let queues = nic.net.unplug();
    nic.net.plug(CTRL | RX_OFFLOADS | GUEST_OFFLOADS, queues, nic.notice.clone()).unwrap();
    assert_eq!(accepted(&nic), Offloads::CSUM);
    drop(nic.net.unplug());
    nic.net.reset();
    nic.start(CTRL | RX_OFFLOADS);
    assert!(accepted(&nic).contains(Offloads::TSO4));
}

#[test]
fn pairs_work_side_by_side_and_are_switched_on_by_command() {
    let mut nic = Nic::with(4, ABLE, true);
    nic.start(CTRL | MQ | MRG_RXBUF);
    let enabled = |nic: &Nic| {
        let on = nic.stages.iter().map(|stage| stage.scene().enabled);
        on.collect::<Vec<_>>()
    };
    assert_eq!(enabled(&nic)[1..], [false; 3], "one pair until the driver asks for more");
    assert_eq!(nic.command(PAIRS, 0, &[4, 0]), OK);
    assert_eq!(enabled(&nic)[1..], [true; 3]);
    for pair in 0..4 {
        nic.post(pair, 4, 2048);
        nic.stages[pair].bring(vec![0xff; 60 + pair]);
        nic.offer_frame(pair, &[0; 12], &vec![0xff; 80 + pair]);
        nic.pairs[pair].tx.kick();
        nic.settle();
        assert_eq!(nic.stages[pair].take_sent()[0].bytes.len(), 80 + pair);
        assert_eq!(nic.pairs[pair].rx.take().unwrap().1, 72 + pair as u32);
        assert_eq!(nic.vectors.test_vector(2 * pair as u16).delivered(), 1);
        assert_eq!(nic.vectors.test_vector(2 * pair as u16 + 1).delivered(), 1);
    }
    for bad in [&[0, 0][..], &[5, 0], &[0, 1], &[4], &[4, 0, 0]] {
        assert_eq!(nic.command(PAIRS, 0, bad), ERR, "{bad:?}");
    }
    assert_eq!(nic.command(PAIRS, 0, &[2, 0]), OK);
    assert_eq!(enabled(&nic)[1..], [true, false, false]);
    // A stop keeps the pairs, a reset goes back to one.
    let queues = nic.net.unplug();
    assert_eq!(queues.len(), 9);
    nic.net.plug(CTRL | MQ, queues, nic.notice.clone()).unwrap();
    assert_eq!(enabled(&nic)[1..], [true, false, false]);
    drop(nic.net.unplug());
    nic.net.reset();
    assert_eq!(enabled(&nic)[1..], [false; 3]);
}

#[test]
fn without_mq_the_control_queue_follows_the_first_pair() {
    let mut nic = Nic::with(4, ABLE, true);
    nic.start(CTRL);
    assert_eq!(nic.command(RX, 0, &[0]), OK);
    assert_eq!(nic.command(PAIRS, 0, &[1, 0]), ERR);
}

#[test]
fn features_are_what_the_backend_can_do() {
    let offered = |pairs, limits| Nic::with(pairs, limits, true).net.features();
    let all = offered(2, ABLE);
    for wanted in [TX_OFFLOADS, RX_OFFLOADS, GUEST_OFFLOADS, MRG_RXBUF, CTRL, MQ, 1 << 3, 1 << 16] {
        assert_eq!(all & wanted, wanted, "{wanted:#x}");
    }
    let none = Limits { tx: Offloads::empty(), rx: Offloads::empty(), mtu: None };
    let few = offered(1, none);
    let unwanted = TX_OFFLOADS | RX_OFFLOADS | GUEST_OFFLOADS | MQ | 1 << 3;
    assert_eq!(few & unwanted, 0, "{few:#x}");
}

#[test]
fn the_configuration_reads_as_the_specification_lays_it_out() {
    let nic = Nic::with(4, ABLE, true);
    let bytes: Vec<u8> = (0..24).map(|at| nic.net.read_config(at, Width::B1) as u8).collect();
    assert_eq!(bytes[..6], MAC.0);
    assert_eq!(bytes[6..12], [1, 0, 4, 0, 0xdc, 5]);
    assert_eq!(bytes[12..18], [0x10, 0x27, 0, 0, 1, 40]);
    assert_eq!(bytes[18..], [128, 0, 0x3f, 0, 0, 0]);
    assert_eq!(nic.net.read_config(0, Width::B8), 0x0001_0100_0000_0002);
    assert_eq!(nic.net.read_config(15, Width::B4), 0x8028_0100);
    for offset in [24, 0x1000, u64::MAX] {
        assert_eq!(nic.net.read_config(offset, Width::B8), 0);
    }
}

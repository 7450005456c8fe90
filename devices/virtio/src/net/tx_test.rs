//! Tests of frames from a driver.

use std::io;

use device_core::bus::Width;
use net::backend::QueueError;
use net::frame::{Csum, FrameMeta, Gso, GsoKind};

use crate::device::VirtioDevice;
use crate::testing::nic::{ABLE, INDIRECT, Nic, TX_OFFLOADS};
use crate::testing::ring::{readable, writable};

/// A broadcast frame of `len` bytes that differ.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| if at < 6 { 0xff } else { at as u8 }).collect()
}

fn started(features: u64) -> Nic {
    let mut nic = Nic::new();
    nic.start(features);
    nic
}

#[test]
fn a_frame_leaves_as_it_was_written_and_its_buffer_comes_back() {
    for len in [14, 60, 127, 128, 129, 1514, 9014] {
        let mut nic = started(0);
        nic.send(&frame(len));
        let sent = nic.stages[0].take_sent();
        assert_eq!(sent, [frame(len).into()]);
        let back = nic.pairs[0].tx.take_all();
        assert_eq!(back.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [0]);
        assert_eq!((nic.total("tx_frames"), nic.total("tx_bytes")), (1, len as u64));
    }
}

#[test]
fn a_frame_in_an_indirect_table_of_many_pieces_leaves_whole() {
    let mut nic = started(INDIRECT);
    let bytes = [vec![0; 12], frame(4000)].concat();
    let at = nic.buffer(0x2000);
    nic.write(at, &bytes);
    // Pieces that tear the header and the head apart.
    let cuts = [0, 5, 12, 13, 80, 200, 201, 3000, 4012];
    let chain: Vec<_> =
        cuts.windows(2).map(|cut| readable(at + cut[0] as u64, (cut[1] - cut[0]) as u32)).collect();
    let table = nic.buffer(0x1000);
    nic.pairs[0].tx.offer_indirect(table, &chain);
    nic.pairs[0].tx.kick();
    nic.settle();
    assert_eq!(nic.stages[0].take_sent(), [frame(4000).into()]);
}

#[test]
fn offloads_reach_the_backend_as_the_driver_put_them() {
    let mut nic = started(TX_OFFLOADS);
    let needed = Csum::Needed { start: 34, offset: 16 };
    let gso = |kind| Some(Gso { kind, ecn: false, segment: 1448, headers: 54 });
    for (flags, kind, gso) in [
        (1, 0, None),
        (1, 1, gso(GsoKind::Tcp4)),
        (1, 4, gso(GsoKind::Tcp6)),
        (1, 5, gso(GsoKind::Udp)),
    ] {
        let header = [flags, kind, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
        nic.offer_frame(0, &header, &frame(60_000));
        nic.pairs[0].tx.kick();
        nic.settle();
        let sent = nic.stages[0].take_sent();
        assert_eq!(sent[0].meta, FrameMeta { csum: needed, gso, hash: None });
        assert_eq!(sent[0].bytes, frame(60_000));
        assert_eq!(nic.pairs[0].tx.take_all().len(), 1);
    }
}

#[test]
fn a_driver_cannot_vouch_for_a_checksum() {
    let mut nic = started(TX_OFFLOADS);
    nic.offer_frame(0, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &frame(60));
    nic.pairs[0].tx.kick();
    nic.settle();
    assert_eq!(nic.stages[0].take_sent()[0].meta, FrameMeta::default());
}

#[test]
fn frames_that_make_no_sense_are_dropped_and_the_ring_goes_on() {
    const CSUM: u64 = 1;
    let tso = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
    let cases: &[(&str, u64, [u8; 12], usize)] = &[
        ("checksum behind the end", TX_OFFLOADS, [1, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0], 60),
        ("checksum not negotiated", 0, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], 60),
        ("segmentation not negotiated", CSUM, tso, 3000),
        (
            "segmentation without checksum",
            TX_OFFLOADS,
            [0, 1, 54, 0, 0xa8, 5, 0, 0, 0, 0, 0, 0],
            3000,
        ),
        ("segments of no length", TX_OFFLOADS, [1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0], 3000),
        ("unknown segmentation", TX_OFFLOADS, [1, 3, 54, 0, 1, 0, 34, 0, 16, 0, 0, 0], 3000),
        (
            "congestion marks not negotiated",
            TX_OFFLOADS,
            [1, 0x81, 54, 0, 1, 0, 34, 0, 16, 0, 0, 0],
            3000,
        ),
        ("shorter than Ethernet", 0, [0; 12], 13),
        ("longer than anything", 0, [0; 12], 66_000),
        ("no frame at all", 0, [0; 12], 0),
    ];
    for (name, features, header, len) in cases {
        let mut nic = started(*features);
        nic.offer_frame(0, header, &frame(*len));
        nic.send(&frame(60));
        assert_eq!(nic.stages[0].take_sent(), [frame(60).into()], "{name}");
        assert_eq!(nic.pairs[0].tx.take_all().len(), 2, "{name}");
        assert_eq!(nic.total("tx_malformed"), 1, "{name}");
        assert_eq!(nic.notice.resets_asked(), 0, "{name}");
    }
}

#[test]
fn a_chain_without_a_whole_header_is_dropped() {
    let mut nic = started(0);
    let at = nic.buffer(16);
    nic.pairs[0].tx.offer(&[readable(at, 11)]);
    nic.pairs[0].tx.offer(&[readable(at, 0)]);
    nic.pairs[0].tx.kick();
    nic.settle();
    assert_eq!(nic.pairs[0].tx.take_all().len(), 2);
    assert_eq!(nic.total("tx_malformed"), 2);
}

#[test]
fn a_buffer_outside_of_ram_ends_the_ring_and_asks_for_a_reset() {
    let cases = [(0x200_0000, 64), (0x1ff_fff0, 64), (u64::MAX - 3, 64), (0xfee0_0000, 4)];
    for (addr, len) in cases {
        let mut nic = started(0);
        nic.pairs[0].tx.offer(&[readable(addr, len)]);
        nic.send(&frame(60));
        assert_eq!(nic.stages[0].take_sent(), []);
        assert_eq!((nic.notice.resets_asked(), nic.total("guest_faults")), (1, 1));
        // The other direction still works, and kicks of the dead ring do nothing.
        nic.pairs[0].tx.force_kick();
        nic.post(0, 1, 2048);
        nic.stages[0].bring(frame(60));
        nic.settle();
        assert_eq!(nic.pairs[0].rx.take_all().len(), 1);
        assert_eq!(nic.notice.resets_asked(), 1);
    }
}

#[test]
fn a_writable_buffer_in_a_frame_to_send_ends_the_ring() {
    let mut nic = started(0);
    let at = nic.buffer(128);
    nic.pairs[0].tx.offer(&[readable(at, 64), writable(at, 64)]);
    nic.pairs[0].tx.kick();
    nic.settle();
    assert_eq!(nic.notice.resets_asked(), 1);
}

#[test]
fn a_burst_costs_one_kick_and_one_interrupt() {
    let mut nic = started(0);
    nic.stages[0].set_blocked(true);
    nic.settle();
    for _ in 0..20 {
        nic.offer_frame(0, &[0; 12], &frame(60));
    }
    assert!(nic.pairs[0].tx.kick());
    nic.settle();
    assert!(!nic.pairs[0].tx.kick());
    nic.stages[0].set_blocked(false);
    nic.settle();
    assert_eq!(nic.stages[0].take_sent().len(), 20);
    assert_eq!(nic.vectors.test_vector(1).delivered(), 1);
    assert_eq!(nic.total("interrupts"), 1);
}

#[test]
fn no_interrupt_comes_before_the_index_the_driver_named() {
    let mut nic = started(0);
    nic.pairs[0].tx.interrupt_after(5);
    for _ in 0..5 {
        nic.send(&frame(60));
    }
    assert_eq!(nic.vectors.test_vector(1).delivered(), 0);
    nic.send(&frame(60));
    assert_eq!(nic.vectors.test_vector(1).delivered(), 1);
}

#[test]
fn without_event_idx_the_flag_keeps_interrupts_away() {
    let mut nic = Nic::with(1, ABLE, false);
    nic.start(0);
    nic.pairs[0].tx.want_interrupts(false);
    nic.send(&frame(60));
    assert_eq!(nic.vectors.test_vector(1).delivered(), 0);
    nic.pairs[0].tx.want_interrupts(true);
    nic.send(&frame(60));
    assert_eq!(nic.vectors.test_vector(1).delivered(), 1);
}

#[test]
fn a_full_backend_keeps_frames_in_order_until_it_has_room() {
    let mut nic = started(0);
    nic.stages[0].set_blocked(true);
    nic.settle();
    for len in 60..70 {
        nic.send(&frame(len));
    }
    assert_eq!(nic.stages[0].take_sent(), []);
    assert_eq!(nic.pairs[0].tx.take_all(), []);
    let tries = nic.stages[0].scene().sends;
    assert!(tries <= 2, "a full backend is asked {tries} times before it says that it has room");
    nic.stages[0].set_blocked(false);
    nic.settle();
    let lens: Vec<_> = nic.stages[0].take_sent().iter().map(|frame| frame.bytes.len()).collect();
    assert_eq!(lens, (60..70).collect::<Vec<_>>());
    assert_eq!(nic.pairs[0].tx.take_all().len(), 10);
}

#[test]
fn an_unplugged_ring_is_not_touched_and_goes_on_where_it_stopped() {
    let mut nic = started(0);
    nic.stages[0].set_blocked(true);
    nic.settle();
    nic.send(&frame(60));
    nic.send(&frame(61));

    let queues = nic.net.unplug();
    nic.stages[0].set_blocked(false);
    nic.pairs[0].tx.force_kick();
    nic.settle();
    assert_eq!(nic.stages[0].take_sent(), []);
    assert_eq!(nic.pairs[0].tx.take_all(), []);
    assert_eq!(queues.iter().map(|queue| queue.index).collect::<Vec<_>>(), [0, 1]);

    nic.net.plug(0, queues, nic.notice.clone()).unwrap();
    nic.settle();
    assert_eq!(nic.stages[0].take_sent(), [frame(60).into(), frame(61).into()]);
    assert_eq!(nic.pairs[0].tx.take_all().len(), 2);
}

#[test]
fn frames_that_the_backend_refuses_come_back_too() {
    let mut nic = started(0);
    let refused = QueueError::Refused(io::Error::from_raw_os_error(libc_eio()));
    nic.stages[0].scene().send_errors.push_back(refused);
    nic.send(&frame(60));
    nic.send(&frame(61));
    assert_eq!(nic.stages[0].take_sent(), [frame(61).into()]);
    assert_eq!(nic.pairs[0].tx.take_all().len(), 2);
    assert_eq!(nic.total("tx_refused"), 1);
    assert_eq!(nic.notice.config_changes(), 0);
}

#[test]
fn a_backend_that_is_gone_takes_the_link_down_and_wedges_nobody() {
    let mut nic = started(0);
    assert_eq!(nic.net.read_config(6, Width::B2), 1);
    let gone = || QueueError::Gone(io::Error::from_raw_os_error(libc_eio()));
    nic.stages[0].scene().send_errors.extend([gone(), gone()]);
    nic.send(&frame(60));
    nic.send(&frame(60));
    assert_eq!(nic.net.read_config(6, Width::B2), 0);
    assert_eq!(nic.notice.config_changes(), 1);
    assert_eq!(nic.pairs[0].tx.take_all().len(), 2);
    assert_eq!(nic.total("backend_errors"), 2);
}

#[test]
fn a_driver_comes_up_without_a_cable_and_one_the_host_refuses_does_not() {
    const EBADFD: i32 = 77;
    let mut nic = Nic::new();
    let error = io::Error::from_raw_os_error(EBADFD);
    nic.stages[0].scene().accept_errors.push_back(error);
    nic.start(0);
    assert_eq!(nic.net.read_config(6, Width::B2), 0);
    nic.send(&frame(60));
    assert_eq!(nic.pairs[0].tx.take_all().len(), 1);

    let nic = Nic::new();
    let error = io::Error::from_raw_os_error(libc_eio());
    nic.stages[0].scene().accept_errors.push_back(error);
    let refusal = nic.net.plug(0, nic.live(), nic.notice.clone()).unwrap_err().to_string();
    assert!(refusal.contains("cannot set offloads"), "{refusal}");
    assert_eq!(nic.net.unplug().len(), 0);
}

fn libc_eio() -> i32 {
    5
}

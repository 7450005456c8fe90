//! CREATE and DESTROY of queues, and frames through them (specification 11.1: QUE, TX, RX, INT).

use net::backend::script::WireFrame;
use net::frame::{Csum, FrameMeta, Gso, GsoKind};
use net::stage::segment::CUT;

use crate::testing::driver::{Driver, FATAL, READY, RESETTING, reg};

const FRAME: [u8; 60] = [0x11; 60];

#[test]
fn que_1_a_completion_queue_is_answered_with_index_depth_and_unmask_register() {
    let mut driver = Driver::probed(2);
    let ring = driver.bench.allocate(0x2000);
    let answer = driver.create_cq(2, 1024, 1, ring).ok();
    assert_eq!((answer.half(0), answer.half(2)), (0, 1024));
    assert_eq!((answer.word(4), answer.word(8), answer.word(12)), (0, 0, 0x1000));
    assert_eq!(driver.create_cq(4, 256, 2, ring).ok().word(12), 0x1040);
}

#[test]
fn que_2_and_3_queues_may_do_without_interrupts() {
    let mut driver = Driver::probed(1);
    let ring = driver.bench.allocate(0x2000);
    assert_eq!(driver.create_cq(2, 256, u32::MAX, ring).ok().word(12), 0xffc);
    let mut words = [0; 16];
    words[0] = 3 << 16;
    words[1] = 2 << 8 | 256 << 16;
    (words[2], words[3]) = (77, ring as u32);
    assert_eq!(driver.command(words).ok().word(12), 0xffc);
}

#[test]
fn que_4_impossible_completion_queues_are_refused() {
    let mut driver = Driver::probed(1);
    let ring = driver.bench.allocate(0x4_0000);
    let end = 0x200_0000;
    for (words, depth, vector, at) in [
        (2, 1000, 1, ring),
        (2, 0, 1, ring),
        (2, 1, 1, ring),
        (2, 16384, 1, ring),
        (3, 256, 1, ring),
        (0, 256, 1, ring),
        (1, 256, 1, ring),
        (31, 256, 1, ring),
        (2, 256, 0, ring),
        (2, 256, 2, ring),
        (2, 256, 0xffff_0001, ring),
        (2, 256, 1, ring + 4),
        (2, 256, 1, end - 256 * 8 + 8),
        (2, 256, 1, 0xe000_0000),
        (2, 256, 1, 0xffff_ffff_f000),
    ] {
        let status = driver.create_cq(words, depth, vector, at).status;
        assert_eq!(status, 5, "{words} {depth} {vector:#x} {at:#x}");
    }
    driver.create_cq(2, 256, 1, end - 256 * 8).ok();
}

#[test]
fn que_5_a_submission_queue_needs_a_completion_queue_of_its_own() {
    let mut driver = Driver::probed(2);
    let ring = driver.bench.allocate(0x4000);
    assert_eq!(driver.create_sq(1, 1, 0, 256, ring).status, 5);
    driver.create_cq(2, 256, 1, ring).ok();
    driver.create_sq(1, 1, 0, 256, ring).ok();
    assert_eq!(driver.create_sq(1, 1, 0, 256, ring).status, 5);
    assert_eq!(driver.create_sq(1, 1, 9, 256, ring).status, 5);
}

#[test]
fn que_6_indices_of_both_directions_count_from_zero() {
    let mut driver = Driver::probed(2);
    let indices = [
        driver.create_rx(256, 1).sq,
        driver.create_tx(256, 1).sq,
        driver.create_tx(256, 2).sq,
        driver.create_rx(256, 2).sq,
    ];
    assert_eq!(indices, [0, 0, 1, 1]);
}

#[test]
fn que_7_a_completion_queue_outlives_its_submission_queue() {
    let mut driver = Driver::probed(1);
    let tx = driver.create_tx(256, 1);
    assert_eq!(driver.destroy_cq(tx.cq).status, 7);
    driver.destroy(1, &tx);
    assert_eq!(driver.destroy_cq(tx.cq).status, 5);
    assert_eq!(driver.destroy_sq(1, tx.sq).status, 5);
    assert_eq!(driver.destroy_sq(2, 0).status, 5);
    assert_eq!(driver.destroy_sq(3, 0).status, 5);
    assert_eq!(driver.destroy_cq(0xffff).status, 5);
}

#[test]
fn que_8_a_destroyed_queue_touches_no_memory() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.stages[0].set_blocked(true);
    driver.send(&mut tx, 1, &FRAME);
    driver.destroy(1, &tx);
    driver.bench.stages[0].set_blocked(false);
    driver.bench.settle();
    driver.bench.settle();
    assert!(driver.bench.stages[0].take_sent().is_empty());
    assert_eq!(driver.take_completion(&mut tx), None);
}

#[test]
fn que_9_and_10_the_same_number_of_queues_fits_each_time() {
    let mut driver = Driver::probed(2);
    let ring = driver.bench.allocate(0x4000);
    for _ in 0..10 {
        let queues: Vec<_> =
            (0..4).map(|_| driver.create_cq(2, 256, 1, ring).ok().half(0)).collect();
        assert_eq!(queues, [0, 1, 2, 3]);
        assert_eq!(driver.create_cq(2, 256, 1, ring).status, 1);
        driver.create_sq(1, 1, 0, 256, ring).ok();
        driver.create_sq(1, 1, 1, 256, ring).ok();
        assert_eq!(driver.create_sq(1, 1, 2, 256, ring).status, 1);
        driver.destroy_sq(1, 0).ok();
        driver.destroy_sq(1, 1).ok();
        for cq in queues {
            driver.destroy_cq(cq).ok();
        }
    }
}

#[test]
fn que_11_low_latency_queues_must_be_chosen_first() {
    let mut driver = Driver::probed(1);
    let ring = driver.bench.allocate(0x4000);
    driver.reset(0);
    driver.set_rings();
    driver.create_cq(2, 256, 1, ring).ok();
    assert_eq!(driver.create_sq(1, 3, 0, 256, 0).status, 5);
    assert_eq!(driver.create_sq(2, 3, 0, 256, 0).status, 5);
}

#[test]
fn que_12_impossible_submission_queues_are_refused() {
    let mut driver = Driver::probed(1);
    let ring = driver.bench.allocate(0x4000);
    let end = 0x200_0000;
    driver.create_cq(2, 256, 1, ring).ok();
    for (direction, placement, depth, at) in [
        (1, 1, 256, end - 256 * 16 + 1),
        (1, 1, 256, end - 256 * 16 + 8),
        (1, 1, 2048, ring),
        (1, 1, 255, ring),
        (1, 1, 0, ring),
        (0, 1, 256, ring),
        (3, 1, 256, ring),
        (7, 1, 256, ring),
        (1, 0, 256, ring),
        (1, 2, 256, ring),
        (1, 15, 256, ring),
        (2, 1, 256, ring),
    ] {
        let status = driver.create_sq(direction, placement, 0, depth, at).status;
        assert_eq!(status, 5, "{direction} {placement} {depth} {at:#x}");
    }
    let mut words = [0; 16];
    words[0] = 1 << 16;
    words[2] = 256 << 16;
    words[3] = ring as u32;
    for flags in [1 << 24 | 0x11 << 16, 0x01 << 16] {
        words[1] = 1 << 5 | flags;
        assert_eq!(driver.command(words).status, 3, "{flags:#x}");
    }
    driver.create_sq(1, 1, 0, 256, end - 256 * 16).ok();
}

#[test]
fn tx_1_a_frame_goes_out_and_its_id_comes_back() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.unmask(&tx);
    driver.send(&mut tx, 0xffff, &FRAME);
    let sent = driver.bench.stages[0].take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].bytes, FRAME);
    let [first, ..] = driver.take_completion(&mut tx).unwrap();
    assert_eq!(first & 0x00ff_ffff, 0xffff);
    assert_eq!(driver.bench.interrupts(1), 1);
}

#[test]
fn rx_1_a_frame_comes_in_through_the_buffer_posted() {
    let mut driver = Driver::probed(1);
    let mut rx = driver.create_rx(256, 1);
    driver.unmask(&rx);
    let buffer = driver.post_buffer(&mut rx, 7, 2048);
    driver.ring(&rx);
    let mut frame = vec![0xff; 6];
    frame.extend([2; 54]);
    driver.bench.stages[0].bring(frame.clone());
    driver.bench.settle();
    let [first, len_and_id, ..] = driver.take_completion(&mut rx).unwrap();
    assert_eq!(first >> 26 & 3, 3);
    assert_eq!(len_and_id, 7 << 16 | 60);
    assert_eq!(driver.bench.load(buffer, 60), frame);
    assert_eq!(driver.bench.interrupts(1), 1);
}

#[test]
fn a_large_tcp_frame_comes_in_the_pieces_of_a_wire() {
    let mut driver = Driver::probed(1);
    let mut rx = driver.create_rx(256, 1);
    let buffers: Vec<_> = (0..8).map(|id| driver.post_buffer(&mut rx, id, 2048)).collect();
    driver.ring(&rx);
    assert!(driver.bench.stages[0].scene().accepted.contains(CUT));
    let mut frame = vec![0xff; 12];
    frame.extend([8, 0, 0x45, 0, 0x13, 0xb0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 0x01, 0xbb, 0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    frame.extend((0..5000).map(|at| at as u8));
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
    let csum = Csum::Needed { start: 34, offset: 16 };
    let meta = FrameMeta { csum, gso, hash: None };
    driver.bench.stages[0].bring(WireFrame { meta, bytes: frame.clone() });
    driver.bench.settle();
    let mut payload = Vec::new();
    for (nth, buffer) in buffers[..4].iter().enumerate() {
        let [flags, len_and_id, ..] = driver.take_completion(&mut rx).unwrap();
        // TCP over IPv4, checked and right, one buffer each.
        assert_eq!(flags >> 13 & 0xf, 0b1000, "{flags:#x}");
        let len = if nth < 3 { 1502 } else { 54 + 656 };
        assert_eq!(len_and_id, (nth as u32) << 16 | len);
        let bytes = driver.bench.load(*buffer, len as usize);
        let sequence = u32::from_be_bytes(bytes[38..42].try_into().unwrap());
        assert_eq!(sequence, 256 + 1448 * nth as u32);
        payload.extend_from_slice(&bytes[54..]);
    }
    assert_eq!(driver.take_completion(&mut rx), None);
    assert_eq!(payload, frame[54..]);
}

#[test]
fn rx_10_only_frames_for_the_card_come_in() {
    let mut driver = Driver::probed(1);
    let mut rx = driver.create_rx(256, 1);
    for id in 0..4 {
        driver.post_buffer(&mut rx, id, 2048);
    }
    driver.ring(&rx);
    let to = |first: [u8; 6]| [first.as_slice(), &[9; 54]].concat();
    for destination in [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1], [0xff; 6]] {
        driver.bench.stages[0].bring(to(destination));
    }
    driver.bench.settle();
    let got = std::iter::from_fn(|| driver.take_completion(&mut rx)).count();
    assert_eq!(got, 3);
    assert_eq!(driver.stats(0, 0, 0, 0).ok().double(32), 0, "filtered frames are no drops");
}

#[test]
fn int_1_to_3_a_vector_interrupts_once_for_each_unmask() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &FRAME);
    assert_eq!(driver.bench.interrupts(1), 0);
    driver.unmask(&tx);
    assert_eq!(driver.bench.interrupts(1), 1);
    driver.unmask(&tx);
    for id in 0..100 {
        driver.send(&mut tx, id, &FRAME);
    }
    assert_eq!(driver.bench.interrupts(1), 2);
}

#[test]
fn int_4_the_transmit_queues_register_unmasks_the_pair() {
    let mut driver = Driver::probed(1);
    let tx = driver.create_tx(256, 1);
    let mut rx = driver.create_rx(256, 1);
    driver.unmask(&tx);
    driver.post_buffer(&mut rx, 1, 2048);
    driver.ring(&rx);
    driver.bench.stages[0].bring(vec![0xff; 60]);
    driver.bench.settle();
    assert_eq!(driver.bench.interrupts(1), 1);
}

#[test]
fn rst_4_a_reset_under_traffic_touches_no_memory_afterwards() {
    let mut driver = Driver::probed(1);
    let (mut tx, mut rx) = (driver.create_tx(256, 1), driver.create_rx(256, 1));
    driver.post_buffer(&mut rx, 1, 2048);
    driver.ring(&rx);
    driver.bench.stages[0].set_blocked(true);
    driver.send(&mut tx, 1, &FRAME);
    driver.bench.write(reg::DEV_CTL, 1);
    let interrupts = driver.bench.interrupts(1);
    driver.bench.stages[0].set_blocked(false);
    driver.bench.stages[0].bring(vec![0xff; 60]);
    driver.bench.settle();
    driver.bench.settle();
    assert!(driver.bench.stages[0].take_sent().is_empty());
    assert_eq!((driver.take_completion(&mut tx), driver.take_completion(&mut rx)), (None, None));
    assert_eq!(driver.bench.interrupts(1), interrupts);
    assert_eq!(driver.bench.read(reg::DEV_STS), READY | RESETTING);
}

#[test]
fn tx_9_a_doorbell_too_far_ahead_is_fatal_until_the_reset() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.write(tx.doorbell, 257);
    driver.bench.settle();
    assert_eq!(driver.status() & (FATAL | READY), FATAL | READY);
    assert_eq!(driver.take_completion(&mut tx), None);
    driver.reset(8);
    driver.probe();
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 3, &FRAME);
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    assert!(driver.take_completion(&mut tx).is_some());
}

#[test]
fn doorbells_of_no_queue_do_nothing() {
    let mut driver = Driver::probed(1);
    for offset in [0xffc, 0x1000, 0x1004, 0x1008, 0x2fc4, 0x3000, 0x3004, 0x8_2000] {
        driver.bench.write(offset, 0xffff);
    }
    driver.bench.settle();
    assert_eq!(driver.status() & FATAL, 0);
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.take_completion(&mut tx).is_some());
}

#[test]
fn pci_6_frames_wait_for_bus_mastering() {
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.bench.set_bus_master(false);
    driver.send(&mut tx, 1, &FRAME);
    assert!(driver.bench.stages[0].take_sent().is_empty());
    driver.bench.set_bus_master(true);
    driver.bench.settle();
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    assert!(driver.take_completion(&mut tx).is_some());
}

#[test]
fn a_stopped_machine_moves_no_frames_and_goes_on_where_it_was() {
    use device_core::device::Device;
    let mut driver = Driver::probed(1);
    let mut tx = driver.create_tx(256, 1);
    driver.send(&mut tx, 1, &FRAME);
    driver.bench.card.stop();
    driver.send(&mut tx, 2, &FRAME);
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    driver.bench.card.start();
    driver.bench.settle();
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    let ids: Vec<u32> = std::iter::from_fn(|| driver.take_completion(&mut tx))
        .map(|[first, ..]| first & 0xffff)
        .collect();
    assert_eq!(ids, [1, 2]);
}

//! Tests of frames to a driver.

use std::io;

use device_core::bus::Width;
use net::backend::QueueError;
use net::backend::script::WireFrame;
use net::frame::{Csum, FrameMeta, Gso, GsoKind};

use crate::device::VirtioDevice;
use crate::testing::nic::{MRG_RXBUF, Nic, RX_OFFLOADS};
use crate::testing::ring::{Descriptor, WRITE, readable, writable};

const HEADER: usize = 12;

/// A broadcast frame of `len` bytes that differ.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| if at < 6 { 0xff } else { (at % 251) as u8 }).collect()
}

fn large(len: usize) -> WireFrame {
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
    let csum = Csum::Needed { start: 34, offset: 16 };
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes: frame(len) }
}

fn started(features: u64) -> Nic {
    let mut nic = Nic::new();
    nic.start(features);
    nic
}

impl Nic {
    /// Brings a frame and waits until it is where it can go.
    fn bring(&mut self, frame: impl Into<WireFrame>) {
        self.stages[0].bring(frame);
        self.settle();
    }

    /// The next frame as a driver puts it together: its first header and its bytes.
    fn receive(&mut self, posted: &[(u16, u64)]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut next = || {
            let (head, len) = self.pairs[0].rx.take()?;
            let at = posted.iter().find(|(posted, _)| *posted == head).unwrap().1;
            Some((at, len as usize))
        };
        let (at, len) = next()?;
        let first = self.memory_at(at, len);
        let buffers = u16::from_le_bytes([first[10], first[11]]);
        let mut bytes = first[HEADER..].to_vec();
        for _ in 1..buffers {
            let (head, len) = self.pairs[0].rx.take().expect("all buffers of a frame at once");
            let at = posted.iter().find(|(posted, _)| *posted == head).unwrap().1;
            bytes.extend(self.memory_at(at, len as usize));
        }
        Some((first[..HEADER].to_vec(), bytes))
    }

    fn memory_at(&self, at: u64, len: usize) -> Vec<u8> {
        self.read(at, len)
    }
}

#[test]
fn a_frame_arrives_in_one_buffer_behind_its_header() {
    for len in [14, 60, 128, 129, 1514] {
        let mut nic = started(0);
        let posted = nic.post(0, 4, 2048);
        nic.bring(frame(len));
        let (header, bytes) = nic.receive(&posted).unwrap();
        assert_eq!(header, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bytes, frame(len));
        assert_eq!(nic.pairs[0].rx.take(), None);
        assert_eq!(nic.vectors.test_vector(0).delivered(), 1);
        assert_eq!((nic.total("rx_frames"), nic.total("rx_bytes")), (1, len as u64));
    }
}

#[test]
fn buffers_in_pieces_take_a_frame_too() {
    let mut nic = started(0);
    let at = nic.buffer(4096);
    // A header in two pieces, and a head in many.
    let cuts = [0, 5, 12, 13, 100, 141, 4096];
    let chain: Vec<_> =
        cuts.windows(2).map(|c| writable(at + c[0], (c[1] - c[0]) as u32)).collect();
    let head = nic.pairs[0].rx.offer(&chain);
    nic.pairs[0].rx.kick();
    nic.bring(frame(1514));
    let (_, bytes) = nic.receive(&[(head, at)]).unwrap();
    assert_eq!(bytes, frame(1514));
}

#[test]
fn a_large_frame_takes_as_many_buffers_as_it_needs() {
    let mut nic = started(MRG_RXBUF | RX_OFFLOADS);
    let posted = nic.post(0, 128, 1536);
    // The first comes as a surprise, the second is expected.
    for len in [60_000, 65_549] {
        nic.bring(large(len));
        let (header, bytes) = nic.receive(&posted).unwrap();
        let buffers = (len + HEADER).div_ceil(1536) as u8;
        assert_eq!(header, [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, buffers, 0]);
        assert!(bytes == frame(len), "a frame of {len} bytes came broken");
    }
    assert_eq!(nic.vectors.test_vector(0).delivered(), 1, "no interrupt is wanted before the next");
}

#[test]
fn small_and_large_frames_keep_their_order_and_their_bytes() {
    let mut nic = started(MRG_RXBUF | RX_OFFLOADS);
    let posted = nic.post(0, 200, 1536);
    let lens = [60, 9000, 60, 60_000, 1514, 14, 40_000, 1524, 1525, 1396, 60];
    for len in lens {
        nic.stages[0].bring(large(len));
    }
    nic.settle();
    for len in lens {
        assert!(nic.receive(&posted).unwrap().1 == frame(len), "{len}");
    }
}

#[test]
fn a_guest_without_buffers_leaves_frames_in_the_backend_until_it_posts_some() {
    let mut nic = started(0);
    for len in 60..70 {
        nic.stages[0].bring(frame(len));
    }
    nic.settle();
    assert_eq!(nic.stages[0].scene().incoming.len(), 10);
    assert_eq!(nic.stages[0].scene().recvs, 0);

    let posted = nic.post(0, 4, 2048);
    let lens: Vec<_> =
        std::iter::from_fn(|| nic.receive(&posted)).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(lens, [60, 61, 62, 63]);
    assert_eq!(nic.stages[0].scene().incoming.len(), 6);

    let posted = nic.post(0, 32, 2048);
    let lens: Vec<_> =
        std::iter::from_fn(|| nic.receive(&posted)).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(lens, (64..70).collect::<Vec<_>>());
    assert!(nic.total("rx_no_buffers") >= 2);
}

#[test]
fn a_lane_with_buffers_wants_no_kicks_for_more() {
    let mut nic = started(0);
    nic.post(0, 4, 2048);
    nic.bring(frame(60));
    let at = nic.buffer(2048);
    nic.pairs[0].rx.offer(&[writable(at, 2048)]);
    assert!(!nic.pairs[0].rx.kick());
}

#[test]
fn a_large_frame_waits_for_the_rest_of_its_buffers() {
    let mut nic = started(MRG_RXBUF);
    let mut posted = nic.post(0, 2, 1536);
    nic.bring(frame(9000));
    nic.stages[0].bring(frame(60));
    nic.settle();
    assert_eq!(nic.receive(&posted), None);
    posted.extend(nic.post(0, 3, 1536));
    assert_eq!(nic.receive(&posted), None);
    posted.extend(nic.post(0, 3, 1536));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(9000));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(60));
    assert_eq!(nic.total("rx_too_large"), 0);
}

#[test]
fn a_frame_larger_than_a_buffer_is_dropped_where_buffers_do_not_merge() {
    let mut nic = started(0);
    let posted = nic.post(0, 2, 1536);
    nic.bring(frame(9000));
    nic.bring(frame(60));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(60));
    assert_eq!(nic.total("rx_too_large"), 1);
}

#[test]
fn a_frame_larger_than_the_whole_ring_is_dropped_and_the_next_one_arrives() {
    let mut nic = started(MRG_RXBUF);
    let posted = nic.post(0, 256, 32);
    nic.bring(frame(9000));
    nic.bring(frame(100));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(100));
    assert_eq!((nic.total("rx_too_large"), nic.total("rx_frames")), (1, 1));
}

#[test]
fn buffers_of_very_many_pieces_do_not_wedge_the_lane() {
    let mut nic = started(MRG_RXBUF | crate::testing::nic::INDIRECT);
    let (at, table) = (nic.buffer(4096), nic.buffer(0x4000));
    let chain: Vec<_> = (0..600).map(|byte| writable(at + byte, 1)).collect();
    nic.pairs[0].rx.offer_indirect(table, &chain);
    nic.pairs[0].rx.offer_indirect(table, &chain);
    nic.pairs[0].rx.kick();
    nic.bring(frame(1000));
    nic.bring(frame(500));
    nic.bring(frame(500));
    let lens: Vec<_> = nic.pairs[0].rx.take_all().iter().map(|(_, len)| *len).collect();
    assert_eq!(lens, [512, 512]);
    assert_eq!((nic.total("rx_too_large"), nic.notice.resets_asked()), (1, 0));
}

#[test]
fn descriptors_rewritten_after_they_were_taken_change_nothing() {
    let mut nic = started(MRG_RXBUF);
    let posted = nic.post(0, 2, 1536);
    // The first frame makes the lane take the second buffer beforehand.
    nic.bring(frame(1600));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(1600));
    let posted = nic.post(0, 4, 1536);
    nic.bring(frame(1600));
    let trap = nic.buffer(4096);
    for index in 0..256 {
        let flags = WRITE;
        let evil = Descriptor { addr: trap, len: 4096, flags, next: 0 };
        nic.pairs[0].rx.write_descriptor(index, evil);
    }
    nic.bring(frame(1600));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(1600));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(1600));
    assert_eq!(nic.read(trap, 4096), vec![0; 4096]);
}

#[test]
fn bad_receive_buffers_end_the_ring_and_ask_for_a_reset() {
    let mut nic = Nic::new();
    let at = nic.buffer(4096);
    let cases = [
        ("readable", vec![readable(at, 2048)]),
        ("readable first", vec![readable(at, 12), writable(at, 2048)]),
        ("too small for the header", vec![writable(at, 11)]),
        ("of no length", vec![writable(at, 0)]),
        ("outside of RAM", vec![writable(0x1ff_ff00, 2048)]),
        ("far outside of RAM", vec![writable(u64::MAX - 100, 2048)]),
    ];
    for (name, chain) in cases {
        let mut nic = started(MRG_RXBUF);
        nic.pairs[0].rx.offer(&chain);
        nic.pairs[0].rx.kick();
        nic.bring(frame(60));
        assert_eq!(nic.pairs[0].rx.take_all(), [], "{name}");
        assert_eq!(nic.notice.resets_asked(), 1, "{name}");
        nic.send(&frame(60));
        assert_eq!(nic.stages[0].take_sent().len(), 1, "{name}: the other direction goes on");
        assert_eq!(nic.net.unplug().len(), 2, "{name}: the broken ring comes home too");
    }
}

#[test]
fn offloads_that_the_driver_did_not_take_are_never_shown_to_it() {
    let mut nic = started(0);
    let posted = nic.post(0, 8, 2048);
    nic.bring(large(1514));
    let vouched = FrameMeta { csum: Csum::Valid, ..FrameMeta::default() };
    nic.bring(WireFrame { meta: vouched, bytes: frame(60) });
    let (header, bytes) = nic.receive(&posted).unwrap();
    assert_eq!((header[0], bytes.len()), (0, 60));
    assert_eq!(nic.total("rx_refused"), 1);

    let mut nic = started(RX_OFFLOADS);
    let posted = nic.post(0, 8, 2048);
    nic.bring(WireFrame { meta: vouched, bytes: frame(60) });
    assert_eq!(nic.receive(&posted).unwrap().0[0], 2);
    assert_ne!(nic.stages[0].scene().accepted, net::frame::Offloads::empty());
}

#[test]
fn frames_too_short_for_ethernet_are_dropped() {
    let mut nic = started(0);
    nic.post(0, 8, 2048);
    nic.bring(frame(13));
    nic.bring(frame(0));
    assert_eq!(nic.pairs[0].rx.take_all(), []);
    assert_eq!(nic.total("rx_refused"), 2);
}

#[test]
fn buffers_taken_beforehand_are_there_again_after_a_stop() {
    let mut nic = started(MRG_RXBUF);
    let posted = nic.post(0, 16, 1536);
    nic.bring(frame(5000));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(5000));

    let queues = nic.net.unplug();
    nic.bring(frame(61));
    assert_eq!(nic.pairs[0].rx.take(), None);
    nic.net.plug(MRG_RXBUF, queues, nic.notice.clone()).unwrap();
    nic.settle();
    assert_eq!(nic.receive(&posted).unwrap().1, frame(61));
    nic.bring(frame(5000));
    assert_eq!(nic.receive(&posted).unwrap().1, frame(5000));
    assert_eq!(nic.total("guest_faults"), 0);
}

#[test]
fn a_backend_error_that_passes_costs_no_frame() {
    let mut nic = started(0);
    let posted = nic.post(0, 8, 2048);
    let error = QueueError::Transient(io::Error::from(io::ErrorKind::OutOfMemory));
    nic.stages[0].scene().recv_errors.push_back(error);
    nic.bring(frame(60));
    // The lane pauses, a few milliseconds the first time.
    let begin = std::time::Instant::now();
    let received = loop {
        nic.settle();
        if let Some(received) = nic.receive(&posted) {
            break received;
        }
        assert!(begin.elapsed().as_secs() < 10, "the lane never came back");
    };
    assert_eq!(received.1, frame(60));
    assert_eq!(nic.total("backend_errors"), 1);
    assert_eq!(nic.net.read_config(6, Width::B2), 1);
}

#[test]
fn a_backend_that_is_gone_takes_the_link_down_and_is_left_alone() {
    let mut nic = started(0);
    nic.post(0, 8, 2048);
    let gone = QueueError::Gone(io::Error::from(io::ErrorKind::NotFound));
    nic.stages[0].scene().recv_errors.push_back(gone);
    nic.bring(frame(60));
    assert_eq!(nic.net.read_config(6, Width::B2), 0);
    assert_eq!(nic.notice.config_changes(), 1);
    let calls = nic.stages[0].scene().recvs;
    nic.stages[0].signal();
    nic.settle();
    nic.settle();
    assert_eq!(nic.stages[0].scene().recvs, calls);
}

//! Tests of low-latency queues, as drivers push to them.

use device_core::fault::GuestFault;
use net::frame::{Csum, TxFrame};
use net::ring::{Next, TxRing};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::ring::Tx;
use crate::ring::testing::{LlqDriver, Queues, control, meta};

const NARROW: LlqPolicy =
    LlqPolicy { entry_size: 128, descriptors_before_header: 2, stride: Stride::Multiple };
const WIDE: LlqPolicy = LlqPolicy { entry_size: 256, ..NARROW };

struct Fixture {
    queues: Queues,
    driver: LlqDriver,
    tx: Tx,
    frame: TxFrame,
}

impl Fixture {
    fn new(depth: u16, policy: LlqPolicy) -> Fixture {
        let queues = Queues::new();
        let config = queues.llq_config(depth, policy);
        let driver = LlqDriver::new(&config);
        let frame = TxFrame::new(queues.memory.clone());
        Fixture { driver, tx: Tx::new(config).unwrap(), frame, queues }
    }

    fn next(&mut self) -> Result<Next, GuestFault> {
        self.tx.next(&mut self.frame)
    }

    fn take(&mut self) -> Vec<u8> {
        let Next::Frame(token) = self.next().unwrap() else { panic!("there is a frame") };
        self.tx.complete(token).unwrap();
        let mut body = vec![0; self.frame.body.len()];
        assert!(self.frame.body.read_at(0, &mut body));
        [self.frame.head.bytes(), &body].concat()
    }

    /// Pushes the first `pushed` bytes of a frame and puts the rest into buffers of `piece` bytes.
    fn send(&mut self, id: u16, frame: &[u8], pushed: usize, piece: usize) {
        let (header, rest) = frame.split_at(pushed);
        let buffers: Vec<_> = rest
            .chunks(piece)
            .map(|piece| (self.queues.buffer(piece), piece.len() as u32))
            .collect();
        self.driver.packet(id, 0, None, header, &buffers);
        self.driver.ring();
    }
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

#[test]
fn a_small_packet_is_sent_from_the_window_alone() {
    let mut one = Fixture::new(64, NARROW);
    one.send(9, &frame(60), 60, 1);
    assert_eq!(one.take(), frame(60));
    assert_eq!(one.driver.completions.take_all(), [[0x0100_0009, 0x0001_0000]]);
}

#[test]
fn descriptors_that_do_not_fit_before_the_header_are_in_the_next_entry() {
    let mut one = Fixture::new(64, NARROW);
    one.send(1, &frame(696), 96, 200);
    assert_eq!(one.driver.tail, 2);
    assert_eq!(one.take(), frame(696));
    assert_eq!(one.driver.completions.take().unwrap()[1] >> 16, 2);
    one.send(2, &frame(1500), 96, 78); // 18 buffers: 2, 8, 8
    assert_eq!(one.driver.tail, 5);
    assert_eq!(one.take(), frame(1500));
}

#[test]
fn the_header_is_in_its_place_whatever_is_before_it() {
    let mut one = Fixture::new(64, NARROW);
    let at = one.queues.buffer(&frame(30));
    one.driver.packet(1, 0, Some(meta(0, 0, 0, 0)), &frame(50), &[(at, 30)]);
    one.driver.packet(2, 0, None, &frame(50), &[(at, 30)]);
    // As iPXE does: a meta descriptor that says nothing.
    one.driver.packet(3, 0, Some([1 << 23 | 1 << 26, 0, 0, 0]), &frame(50), &[(at, 30)]);
    one.driver.ring();
    for _ in 0..3 {
        assert_eq!(one.take(), [frame(50), frame(30)].concat());
    }
}

#[test]
fn a_wide_entry_holds_224_bytes_and_the_ring_is_twice_as_far() {
    let mut one = Fixture::new(4, WIDE);
    assert_eq!((NARROW.header_room(), WIDE.header_room()), (96, 224));
    for id in 0..20 {
        one.send(id, &frame(224), 224, 1);
        assert_eq!(one.take(), frame(224));
        one.send(id, &frame(1000), 224, 776);
        assert_eq!(one.take(), frame(1000));
    }
}

#[test]
fn every_policy_a_driver_can_choose_carries_packets_of_all_shapes() {
    for entry_size in [128, 192, 256] {
        for descriptors_before_header in [1, 2, 4, 8] {
            for stride in [Stride::Single, Stride::Multiple] {
                let policy = LlqPolicy { entry_size, descriptors_before_header, stride };
                if policy.check().is_err() {
                    assert_eq!((entry_size, descriptors_before_header), (128, 8));
                    continue;
                }
                let mut one = Fixture::new(32, policy);
                for (id, buffers) in (0..).zip([0, 1, 2, 3, 7, 8, 17]) {
                    let room = usize::from(policy.header_room()).min(240);
                    let sent = frame(room + buffers * 10);
                    one.send(id, &sent, room, 10);
                    assert_eq!(one.take(), sent, "{policy:?}");
                }
            }
        }
    }
}

#[test]
fn headers_in_the_window_take_checksums_as_those_in_buffers_do() {
    let mut one = Fixture::new(64, NARROW);
    let mut sent = frame(154);
    sent[12..15].copy_from_slice(&[8, 0, 0x45]);
    sent[16..18].copy_from_slice(&140u16.to_be_bytes());
    sent[23] = 6;
    let at = one.queues.buffer(&sent[40..]);
    let say = Some(meta(0, 14, 20, 0));
    // The transport header is in a buffer.
    one.driver.packet(1, control::TCP4_FULL, say, &sent[..40], &[(at, 114)]);
    one.driver.ring();
    let seeded = one.take();
    assert_eq!(one.frame.meta.csum, Csum::Needed { start: 34, offset: 16 });
    let differs: Vec<_> = (0..154).filter(|at| seeded[*at] != sent[*at]).collect();
    assert!(differs.iter().all(|at| [24, 25, 50, 51].contains(at)), "{differs:?}");
}

#[test]
fn a_header_longer_than_its_room_is_a_fault() {
    let mut one = Fixture::new(64, NARROW);
    one.driver.push_entry(&[[0x1C00_0000, 0, 0, 97 << 24]], &frame(96));
    one.driver.ring();
    assert!(one.next().is_err());
}

#[test]
fn an_entry_of_an_older_lap_is_a_fault() {
    let mut one = Fixture::new(64, NARROW);
    one.driver.push_entry(&[[0x1C00_0000, 0, 0, 60 << 24]], &frame(60));
    one.driver.tail += 1;
    one.driver.ring();
    one.take();
    assert!(one.next().is_err());
}

#[test]
fn what_is_written_to_the_window_after_the_entry_was_read_changes_nothing() {
    let mut one = Fixture::new(64, NARROW);
    one.send(1, &frame(60), 60, 1);
    let Next::Frame(token) = one.next().unwrap() else { panic!("there is a frame") };
    one.driver.window.write_slice(&[0xff; 0x2000], GuestAddress(0)).unwrap();
    assert_eq!(one.frame.head.bytes(), frame(60));
    one.tx.complete(token).unwrap();
    assert_eq!(one.driver.completions.take().unwrap()[0], 0x0100_0001);
}

#[test]
fn only_sound_policies_and_rings_within_the_window_are_made() {
    let queues = Queues::new();
    let made = |policy, depth, cut: usize| {
        let mut config = queues.llq_config(depth, policy);
        if let crate::ring::Placement::Llq { offset, .. } = &mut config.placement {
            *offset += cut as u64;
        }
        Tx::new(config).err()
    };
    assert_eq!(made(NARROW, 64, 0x1000), None);
    assert!(made(NARROW, 64, 0x1008).is_some());
    assert_eq!(made(LlqPolicy { entry_size: 64, ..NARROW }, 64, 0), Some(BadRing::Policy));
    let no_room = LlqPolicy { descriptors_before_header: 8, ..NARROW };
    assert_eq!(made(no_room, 64, 0), Some(BadRing::Policy));
    let odd = LlqPolicy { descriptors_before_header: 3, ..NARROW };
    assert_eq!(made(odd, 64, 0), Some(BadRing::Policy));
}

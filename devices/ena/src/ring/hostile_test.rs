//! Properties: what a driver says well arrives as it was said, and what it says badly ends nothing
//! but its ring.

use net::frame::{MAX_FRAME, MIN_FRAME, RxFrame, TxFrame};
use net::ring::{Next, RxRing, TxRing};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::testing::{LlqDriver, MEMORY, Queues, SqDriver};
use super::{LlqPolicy, Rx, Stride, Tx};

fn policy() -> impl Strategy<Value = LlqPolicy> {
    let sizes = prop::sample::select(vec![128, 192, 256]);
    let before = prop::sample::select(vec![1, 2, 4, 8]);
    (sizes, before, any::<bool>())
        .prop_map(|(entry_size, descriptors_before_header, single)| LlqPolicy {
            entry_size,
            descriptors_before_header,
            stride: if single { Stride::Single } else { Stride::Multiple },
        })
        .prop_filter("room for a header", |policy| policy.check().is_ok())
}

/// A packet: its request id, how much of it is pushed, and the lengths of its buffers.
fn packet() -> impl Strategy<Value = (u16, usize, Vec<usize>)> {
    let buffers = prop::collection::vec(0usize..700, 1..=19);
    (any::<u16>(), 14usize..240, buffers).prop_filter("long enough", |(_, _, buffers)| {
        (MIN_FRAME..9000).contains(&buffers.iter().sum())
    })
}

fn take(tx: &mut Tx, frame: &mut TxFrame) -> Vec<u8> {
    let Next::Frame(token) = tx.next(frame).unwrap() else { panic!("there is a frame") };
    tx.complete(token).unwrap();
    let mut body = vec![0; frame.body.len()];
    assert!(frame.body.read_at(0, &mut body));
    [frame.head.bytes(), &body].concat()
}

/// A descriptor word that is often nearly right.
fn words() -> impl Strategy<Value = [u32; 4]> {
    let flags = prop::sample::subsequence(vec![14, 20, 21, 23, 24, 26, 27, 28], 0..=8);
    let len = prop_oneof![4 => 0u32..2000, 1 => any::<u32>()];
    let word0 = (flags, len).prop_map(|(flags, len)| {
        flags.iter().fold(len & 0xffff | (len >> 16 & 0xf) << 16, |word, flag| word | 1 << flag)
    });
    let word1 = prop_oneof![
        1 => Just(0),
        3 => prop::sample::select(vec![0x2_4C18, 0x6C98, 0x6C9B, 0x4D1B]),
        1 => any::<u32>(),
    ];
    let word2 =
        prop_oneof![3 => 0x40_0000u32..0x41_0000, 1 => Just(0x6A08_0E14), 1 => any::<u32>()];
    let word3 =
        prop_oneof![3 => Just(0), 1 => (0u32..256).prop_map(|len| len << 24), 1 => any::<u32>()];
    (word0, word1, word2, word3).prop_map(|(a, b, c, d)| [a, b, c, d])
}

#[derive(Clone, Debug)]
enum Move {
    Push([u32; 4]),
    /// Rings this far beyond what was pushed.
    Ring(u16),
    Write(u64, Vec<u8>),
    /// The lane's turn, which may find the backend full.
    Turn(bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ahead = prop_oneof![20 => Just(0u16), 1 => any::<u16>()];
    let one = prop_oneof![
        6 => words().prop_map(Move::Push),
        3 => ahead.prop_map(Move::Ring),
        1 => (0u64..MEMORY as u64 - 64, prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(at, bytes)| Move::Write(at, bytes)),
        3 => any::<bool>().prop_map(Move::Turn),
    ];
    prop::collection::vec(one, 1..60)
}

/// One turn of a lane on a transmit ring; false if the ring was given up.
fn turn(tx: &mut Tx, frame: &mut TxFrame, full: bool) -> bool {
    for _ in 0..64 {
        match tx.next(frame) {
            Ok(Next::Empty) => return tx.publish().is_ok() && tx.may_sleep().is_ok(),
            Ok(Next::Malformed(token)) => assert!(tx.complete(token).is_ok()),
            Ok(Next::Frame(token)) => {
                assert!((MIN_FRAME..=MAX_FRAME).contains(&frame.len()));
                if full {
                    tx.put_back(token);
                    return true;
                }
                assert!(tx.complete(token).is_ok());
            }
            Err(_) => return false,
        }
    }
    true
}

proptest! {
    #[test]
    fn packets_in_ram_arrive_as_they_were_written(
        packets in prop::collection::vec(packet(), 1..40),
        depth in prop::sample::select(vec![32, 64, 256]),
        entry_words in prop::sample::select(vec![2, 4]),
    ) {
        let mut queues = Queues::new();
        let mut config = queues.tx_config(depth);
        config.completions.entry_words = entry_words;
        let mut driver = SqDriver::tx(&config);
        let (mut tx, mut frame) = (Tx::new(config).unwrap(), TxFrame::new(queues.memory.clone()));
        for (id, _, lens) in packets {
            let bytes: Vec<u8> = (0..lens.iter().sum()).map(|at| (at * 3) as u8).collect();
            let mut rest = &bytes[..];
            let buffers: Vec<_> = lens.iter().map(|len| {
                let (piece, later) = rest.split_at(*len);
                rest = later;
                (queues.buffer(piece), *len as u32)
            }).collect();
            driver.packet(id, 0, None, &buffers);
            driver.ring();
            prop_assert_eq!(take(&mut tx, &mut frame), bytes);
            let entry = driver.completions.take().unwrap();
            prop_assert_eq!((entry[0] as u16, (entry[1] >> 16) as u16), (id, driver.tail));
            prop_assert_eq!(driver.completions.take(), None);
        }
    }

    #[test]
    fn packets_pushed_to_the_window_arrive_as_they_were_written(
        packets in prop::collection::vec(packet(), 1..40),
        policy in policy(),
    ) {
        let mut queues = Queues::new();
        let config = queues.llq_config(32, policy);
        let mut driver = LlqDriver::new(&config);
        let (mut tx, mut frame) = (Tx::new(config).unwrap(), TxFrame::new(queues.memory.clone()));
        for (id, pushed, lens) in packets {
            let pushed = pushed.min(policy.header_room().into());
            let len = pushed + lens.iter().sum::<usize>();
            let bytes: Vec<u8> = (0..len).map(|at| (at * 3) as u8).collect();
            let (header, mut rest) = bytes.split_at(pushed);
            let buffers: Vec<_> = lens.iter().map(|len| {
                let (piece, later) = rest.split_at(*len);
                rest = later;
                (queues.buffer(piece), *len as u32)
            }).collect();
            driver.packet(id, 0, None, header, &buffers);
            driver.ring();
            prop_assert_eq!(take(&mut tx, &mut frame), bytes);
            let entry = driver.completions.take().unwrap();
            prop_assert_eq!((entry[0] as u16, (entry[1] >> 16) as u16), (id, driver.tail));
        }
    }

    #[test]
    fn frames_come_back_from_whatever_buffers_they_went_to(
        frames in prop::collection::vec(14usize..3000, 1..40),
        lens in prop::collection::vec(1u32..2500, 8),
    ) {
        let mut queues = Queues::new();
        let config = queues.rx_config(64);
        let mut driver = SqDriver::rx(&config);
        let mut rx = Rx::new(config).unwrap();
        let buffers: Vec<_> = lens.iter().map(|len| queues.buffer(&vec![0; *len as usize])).collect();
        let posted = |id: u16| (buffers[usize::from(id) % 8], lens[usize::from(id) % 8]);
        let mut next = 0u16;
        for len in frames {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 5) as u8).collect();
            let mut fits = false;
            // At most 19 buffers are ever used for a frame.
            while !fits && rx.can_grow() {
                let (at, len) = posted(next);
                driver.post(next, at, len);
                driver.ring();
                next += 1;
                fits = rx.reserve(bytes.len()).unwrap().write_at(0, &bytes);
            }
            if !fits {
                break;
            }
            rx.deliver(&RxFrame { len, ..RxFrame::default() }).unwrap();
            let mut back = Vec::new();
            while let Some(entry) = driver.completions.take() {
                prop_assert_eq!(entry[0] & 1 << 26 != 0, back.is_empty());
                let (at, _) = posted((entry[1] >> 16) as u16);
                // One buffer may be used again within a frame: then its end is what counts.
                back.push((at, (entry[1] & 0xffff) as usize));
                prop_assert_eq!(entry[0] & 1 << 27 != 0, back.iter().map(|(_, len)| len).sum::<usize>() == len);
            }
            if back.len() <= 8 {
                let read: Vec<u8> = back.iter().flat_map(|(at, len)| queues.read(*at, *len)).collect();
                prop_assert_eq!(read, bytes);
            }
        }
    }

    #[test]
    fn whatever_a_driver_writes_a_transmit_ring_ends_every_turn(
        moves in moves(),
        policy in prop::option::of(policy()),
        depth in prop::sample::select(vec![2, 8, 64]),
    ) {
        let queues = Queues::new();
        let config = match policy {
            Some(policy) => queues.llq_config(depth, policy),
            None => queues.tx_config(depth),
        };
        let doorbell = config.doorbell.clone();
        let mut in_ram = policy.is_none().then(|| SqDriver::tx(&config));
        let mut pushed = policy.map(|_| LlqDriver::new(&config));
        let (mut tx, mut frame) = (Tx::new(config).unwrap(), TxFrame::new(queues.memory.clone()));
        for one in moves {
            let alive = match one {
                Move::Push(words) => {
                    in_ram.iter_mut().for_each(|driver| driver.push(words));
                    pushed.iter_mut().for_each(|driver| driver.push_entry(&[words, words], &[]));
                    true
                }
                Move::Ring(ahead) => {
                    let tail = in_ram.as_ref().map(|driver| driver.tail);
                    let tail = tail.or(pushed.as_ref().map(|driver| driver.tail)).unwrap();
                    doorbell.ring(tail.wrapping_add(ahead).into());
                    true
                }
                Move::Write(at, bytes) => {
                    queues.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
                    let window = pushed.as_ref().map(|driver| driver.window.clone());
                    if let Some(window) = window {
                        drop(window.write_slice(&bytes, GuestAddress(at % 0x4000)));
                    }
                    true
                }
                Move::Turn(full) => turn(&mut tx, &mut frame, full),
            };
            if !alive {
                break;
            }
        }
    }

    #[test]
    fn whatever_a_driver_writes_a_receive_ring_ends_every_turn(
        moves in moves(),
        lens in prop::collection::vec(14usize..20_000, 60),
        depth in prop::sample::select(vec![2, 8, 64]),
    ) {
        let queues = Queues::new();
        let config = queues.rx_config(depth);
        let mut driver = SqDriver::rx(&config);
        let mut rx = Rx::new(config).unwrap();
        for (one, len) in moves.into_iter().zip(lens) {
            match one {
                Move::Push(words) => driver.push(words),
                Move::Ring(ahead) => {
                    driver.ring_for(driver.tail.wrapping_add(ahead).into());
                }
                Move::Write(at, bytes) => {
                    queues.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
                }
                Move::Turn(_) => {
                    let Ok(room) = rx.reserve(len) else { break };
                    if room.len() >= len {
                        let frame = RxFrame { len, ..RxFrame::default() };
                        prop_assert!(rx.deliver(&frame).is_ok());
                    }
                    prop_assert!(rx.publish().is_ok() && rx.may_sleep().is_ok());
                }
            }
        }
    }
}

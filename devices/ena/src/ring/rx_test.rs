//! Tests of receive queues, as drivers fill and empty them.

use std::time::Duration;

use device_core::ram_window::RamWindows;
use device_core::testing::TestWindows;
use net::frame::{FlowHash, HEAD};
use net::ring::RxRing;
use net::rss::Protocol;
use net::wire::layers::Layers;

use super::*;
use crate::cells::Cells;
use crate::quiet::{Quiet, Register};
use crate::registers::{QUIET_STRIDE, RX_DOORBELL};
use crate::ring::testing::{Queues, SqDriver};

struct Fixture {
    queues: Queues,
    driver: SqDriver,
    rx: Rx,
}

impl Fixture {
    fn with(depth: u16, change: impl FnOnce(&mut RxConfig)) -> Fixture {
        let queues = Queues::new();
        let mut config = queues.rx_config(depth);
        change(&mut config);
        Fixture { driver: SqDriver::rx(&config), rx: Rx::new(config).unwrap(), queues }
    }

    fn new() -> Fixture {
        Fixture::with(256, |_| {})
    }

    /// Posts a buffer of `len` bytes; returns where it is.
    fn post(&mut self, id: u16, len: u32) -> u64 {
        let at = self.queues.buffer(&vec![0xee; len as usize]);
        self.driver.post(id, at, len);
        self.driver.ring();
        at
    }

    /// Delivers a frame as the lane does; false if there is no room for it.
    fn deliver(&mut self, bytes: &[u8], findings: Findings) -> bool {
        let mut frame = RxFrame { len: bytes.len(), findings, ..RxFrame::default() };
        frame.meta.hash = Some(FlowHash { value: 0x5151_ccc1, protocol: Protocol::Tcp4 });
        frame.head.set(&bytes[..bytes.len().min(HEAD)]);
        let room = self.rx.reserve(bytes.len()).unwrap();
        let fits = room.write_at(0, bytes);
        if fits {
            self.rx.deliver(&frame).unwrap();
        }
        fits
    }
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

#[test]
fn a_small_frame_takes_one_buffer_and_one_entry() {
    let mut one = Fixture::new();
    let at = one.post(5, 2048);
    assert!(one.deliver(&frame(60), Findings::default()));
    assert_eq!(one.queues.read(at, 60), frame(60));
    let entries = one.driver.completions.take_all();
    assert_eq!(entries, [[0x4D00_0000, 0x0005_003C, 0x5151_ccc1, 0]]);
}

#[test]
fn a_jumbo_frame_takes_five_buffers_in_one_run() {
    let mut one = Fixture::new();
    let at: Vec<_> = (0..6).map(|id| one.post(id, 2048)).collect();
    assert!(one.deliver(&frame(9014), Findings::default()));
    let bytes: Vec<u8> = at.iter().flat_map(|at| one.queues.read(*at, 2048)).collect();
    assert_eq!(bytes[..9014], frame(9014));
    let entries = one.driver.completions.take_all();
    let flags: Vec<_> = entries.iter().map(|entry| entry[0]).collect();
    assert_eq!(flags, [0x4500_0000, 0x4100_0000, 0x4100_0000, 0x4100_0000, 0x4900_0000]);
    let lens: Vec<_> = entries.iter().map(|entry| entry[1]).collect();
    assert_eq!(lens, [0x800, 0x1_0800, 0x2_0800, 0x3_0800, 0x4_0336]);
}

#[test]
fn each_buffer_is_taken_at_its_own_length() {
    let mut one = Fixture::new();
    let lens = [100, 1, 3000, 14];
    for (id, len) in (0..).zip(lens) {
        one.post(id, len);
    }
    assert!(one.deliver(&frame(3105), Findings::default()));
    let taken: Vec<_> =
        one.driver.completions.take_all().iter().map(|entry| entry[1] & 0xffff).collect();
    assert_eq!(taken, [100, 1, 3000, 4]);
}

#[test]
fn a_frame_without_enough_buffers_consumes_nothing() {
    let mut one = Fixture::new();
    one.post(0, 100);
    assert!(!one.deliver(&frame(150), Findings::default()));
    assert_eq!(one.driver.completions.take(), None);
    assert!(one.rx.can_grow() && one.rx.may_sleep().unwrap());
    one.post(1, 100);
    assert!(!one.rx.may_sleep().unwrap());
    assert!(one.deliver(&frame(150), Findings::default()));
    assert_eq!(one.driver.completions.take_all().len(), 2);
}

#[test]
fn no_frame_gets_more_buffers_than_announced() {
    let mut one = Fixture::new();
    for id in 0..30 {
        one.post(id, 10);
    }
    assert!(!one.deliver(&frame(191), Findings::default()));
    assert!(!one.rx.can_grow());
    assert!(one.deliver(&frame(190), Findings::default()));
    assert_eq!(one.driver.completions.take_all().len(), 19);
}

#[test]
fn a_length_of_0_is_a_buffer_of_64_kib() {
    let mut one = Fixture::new();
    let at = one.post(1, 0x1_0000);
    assert!(one.deliver(&frame(0x1_0000), Findings::default()));
    assert_eq!(one.queues.read(at, 0x1_0000), frame(0x1_0000));
    assert_eq!(one.driver.completions.take().unwrap()[1], 0x1_0000);
}

#[test]
fn an_extended_entry_names_the_buffer() {
    let mut one = Fixture::with(4, |config| config.completions.entry_words = 8);
    for id in 0..20 {
        let at = one.post(id, 64);
        assert!(one.deliver(&frame(60), Findings::default()));
        let entry = one.driver.completions.take().unwrap();
        assert_eq!(entry[1..], [60 | u32::from(id) << 16, 0x5151_ccc1, 0, at as u32, 0, 0, 0]);
        assert_eq!(one.driver.completions.take(), None);
    }
}

#[test]
fn every_buffer_posted_comes_back_once_over_many_laps() {
    let mut one = Fixture::with(8, |_| {});
    let at = one.queues.buffer(&[0; 64]);
    for id in 0..100_000u32 {
        one.driver.post(id as u16, at, 64);
        one.driver.ring();
        assert!(one.deliver(&frame(60), Findings::default()));
        let entry = one.driver.completions.take().unwrap();
        assert_eq!(entry[1] >> 16, id & 0xffff);
    }
    assert_eq!(one.driver.completions.take(), None);
}

#[test]
fn what_was_found_of_a_frame_is_said_in_its_entry() {
    let found = |l3, l4, header_sum_wrong, transport, fragment| Findings {
        layers: Layers { l3, l4, fragment, ..Layers::default() },
        header_sum_wrong,
        transport,
    };
    use TransportCheck::{NotDone, Right, Wrong};
    let (v4, v6, tcp, udp) = (Some(L3::Ipv4), Some(L3::Ipv6), Some(L4::Tcp), Some(L4::Udp));
    let cases = [
        (found(v4, tcp, false, Right, false), 0x4D01_0C08),
        (found(v6, udp, false, Right, false), 0x4D01_0D0B),
        (found(v4, udp, true, NotDone, false), 0x4D00_2D08),
        (found(v6, tcp, false, Wrong, false), 0x4D01_4C0B),
        (found(v4, udp, false, NotDone, false), 0x4D00_0D08),
        (found(v4, None, false, NotDone, true), 0x4D00_8008),
        (found(v6, None, false, NotDone, true), 0x4D00_000B),
        (found(None, None, false, NotDone, false), 0x4D00_0000),
        (
            Findings { layers: Layers { tags: 2, ..Layers::default() }, ..Findings::default() },
            0x4D00_0040,
        ),
    ];
    for (findings, word) in cases {
        let mut one = Fixture::new();
        one.post(0, 2048);
        assert!(one.deliver(&frame(60), findings));
        assert_eq!(one.driver.completions.take().unwrap()[0], word, "{findings:?}");
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_given_up() {
    let mut wild = Fixture::new();
    wild.driver.ring_for(257);
    assert_eq!(wild.rx.reserve(60).err(), Some(WILD_TAIL));

    let mut outside = Fixture::new();
    outside.driver.post(0, 0x1ff_fff0, 17);
    outside.driver.ring();
    assert_eq!(outside.rx.reserve(60).err(), Some(OUTSIDE_RAM));
    outside.rx.broken(OUTSIDE_RAM);
    assert_eq!(outside.queues.faults.seen(), [(Direction::Rx, 0, OUTSIDE_RAM)]);
}

#[test]
fn an_entry_before_the_first_unmask_interrupts_at_the_unmask() {
    let mut one = Fixture::new();
    one.post(0, 2048);
    one.deliver(&frame(60), Findings::default());
    assert!(!one.rx.publish().unwrap());
    assert_eq!(one.queues.msi.delivered(), 0);
    one.queues.vector.write(1 << 30);
    assert_eq!(one.queues.msi.delivered(), 1);
    // One interrupt for one unmask.
    for expected in [1, 2] {
        one.post(0, 2048);
        one.deliver(&frame(60), Findings::default());
        one.rx.publish().unwrap();
        assert_eq!(one.queues.msi.delivered(), expected);
        one.queues.vector.write(1 << 30);
        assert_eq!(one.queues.msi.delivered(), expected + 1);
    }
}

#[test]
fn the_unmask_register_masks_and_repeats() {
    let one = Fixture::new();
    one.queues.vector.write(1 << 30);
    one.queues.vector.write(1 << 31);
    assert!(!one.queues.vector.raise());
    one.queues.vector.write(1 << 31);
    assert_eq!(one.queues.msi.delivered(), 0);
    // The driver misses an interrupt: what is pending fires, once.
    one.queues.vector.write(0);
    one.queues.vector.write(0);
    assert_eq!(one.queues.msi.delivered(), 1);
    one.queues.vector.write(1 << 30);
    assert_eq!(one.queues.msi.delivered(), 1);
    one.queues.vector.reset();
    assert!(!one.queues.vector.raise());
}

/// An unmask with these delays.
fn unmask(rx: u32, tx: u32) -> u32 {
    1 << 30 | tx << 15 | rx
}

impl Fixture {
    /// Delivers a frame and shows it; whether it interrupted.
    fn deliver_one(&mut self) -> bool {
        self.post(0, 2048);
        assert!(self.deliver(&frame(60), Findings::default()));
        self.rx.publish().unwrap()
    }
}

#[test]
fn int_5_a_delay_runs_from_the_first_completion_that_had_no_interrupt() {
    let mut one = Fixture::new();
    let start = Instant::now();
    let at = |us| start + Duration::from_micros(us);
    one.queues.vector.write(unmask(20, 0));
    assert_eq!(one.rx.put_off(at(0)), PutOff::default(), "there is nothing to put off");
    assert!(!one.deliver_one());
    let waits = PutOff { fired: false, until: Some(at(20)) };
    assert_eq!(one.rx.put_off(at(0)), waits);
    assert!(!one.deliver_one());
    assert_eq!(one.rx.put_off(at(19)), waits);
    assert_eq!(one.queues.msi.delivered(), 0);
    assert_eq!(one.rx.put_off(at(20)), PutOff { fired: true, until: None });
    assert_eq!(one.queues.msi.delivered(), 1);
    assert_eq!(one.rx.put_off(at(100)), PutOff::default(), "one for both");
}

#[test]
fn a_delay_that_ends_while_masked_interrupts_at_the_unmask() {
    let mut one = Fixture::new();
    let start = Instant::now();
    one.queues.vector.write(unmask(20, 0));
    one.queues.vector.write(1 << 31);
    one.deliver_one();
    one.rx.put_off(start);
    let due = one.rx.put_off(start + Duration::from_micros(20));
    assert_eq!((due, one.queues.msi.delivered()), (PutOff::default(), 0));
    one.queues.vector.write(unmask(20, 0));
    assert_eq!(one.queues.msi.delivered(), 1);
}

#[test]
fn int_6_delays_can_be_kept_and_are_gone_with_a_reset() {
    let mut one = Fixture::new();
    let vector = one.queues.vector.clone();
    vector.write(unmask(7, 9));
    vector.write(1 << 31 | unmask(1, 2));
    let us = Duration::from_micros;
    assert_eq!((vector.delay(Direction::Rx), vector.delay(Direction::Tx)), (us(7), us(9)));
    // None of the other writes to the register sets delays.
    vector.write(1 << 31 | 3);
    vector.write(3);
    assert_eq!(vector.delay(Direction::Rx), us(7));
    // Such a delay would pass for a lost interrupt.
    vector.write(unmask(0x7fff, 0x7fff));
    assert_eq!((vector.delay(Direction::Rx), vector.delay(Direction::Tx)), (us(1000), us(1000)));
    vector.reset();
    assert!(vector.delay(Direction::Rx).is_zero() && vector.delay(Direction::Tx).is_zero());
    vector.write(1 << 30);
    assert!(one.deliver_one());
}

#[test]
fn without_a_delay_any_more_what_was_put_off_fires_with_the_next_completion() {
    let mut one = Fixture::new();
    one.queues.vector.write(unmask(1000, 0));
    one.deliver_one();
    one.rx.put_off(Instant::now());
    one.queues.vector.write(unmask(0, 64));
    assert!(one.deliver_one());
    assert_eq!(one.rx.put_off(Instant::now() + Duration::from_secs(1)), PutOff::default());
    assert_eq!(one.queues.msi.delivered(), 1);
}

#[test]
fn only_sound_rings_are_made() {
    let queues = Queues::new();
    let made = |change: fn(&mut RxConfig)| {
        let mut config = queues.rx_config(256);
        change(&mut config);
        Rx::new(config).err()
    };
    assert_eq!(made(|_| {}), None);
    assert_eq!(made(|config| config.depth = 0), Some(BadRing::Depth(0)));
    assert_eq!(made(|config| config.completions.entry_words = 2), Some(BadRing::EntryWords(2)));
    assert!(matches!(made(|config| config.base = 0x1_0004), Some(BadRing::Range { .. })));
    assert!(matches!(made(|config| config.base = 1 << 47), Some(BadRing::Range { .. })));
}

/// A driver that polls gives buffers back at once, however long the queue has been in use.
#[test]
fn each_lack_of_buffers_is_looked_after_from_its_own_begin() {
    let cells = Cells::new(TestWindows::default().allocate(QUIET_STRIDE).unwrap());
    let quiet = Arc::new(Quiet::new(cells, 1));
    quiet.mapped(Some(0xd000_0000));
    let mut one = Fixture::with(256, |config| {
        let waker = config.doorbell.waker().try_clone().unwrap();
        let register = Register::new(quiet, 0, RX_DOORBELL);
        config.doorbell = Arc::new(RxDoorbell::new(waker, register));
    });
    let begun = Instant::now();
    let at = |us| begun + Duration::from_micros(us);
    let lacks = |one: &mut Fixture, us| {
        assert!(!one.deliver(&frame(60), Findings::default()));
        assert!(one.rx.may_sleep().unwrap());
        one.rx.put_off(at(us)).until
    };
    assert_eq!(lacks(&mut one, 0), Some(at(50)));
    assert_eq!(lacks(&mut one, 8000), Some(at(9000)), "looks get rarer");
    one.post(0, 2048);
    assert!(one.deliver(&frame(60), Findings::default()));
    assert_eq!(lacks(&mut one, 9000), Some(at(9050)));
}

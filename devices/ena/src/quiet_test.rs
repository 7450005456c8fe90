//! Unmask registers and receive doorbells as memory: what is written is found, no interrupt lost, no
//! buffer forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::ram_window::RamWindow;
use device_core::testing::TestWindow;
use net::control::NicControl;
use vm_memory::{Bytes, GuestAddress};

use super::{Naps, RX_DOORBELL, UNMASK};
use crate::registers::{QUIET, QUIET_STRIDE, REGISTERS};
use crate::testing::bench::BAR0;
use crate::testing::driver::{Driver, Queue};

const WANTED: u32 = 1 << 30;

/// A card of two pairs with a receive queue on the second's vector, all buffers posted.
struct Fixture {
    driver: Driver,
    rx: Queue,
    window: Arc<TestWindow>,
}

impl Fixture {
    fn new() -> Fixture {
        let mut driver = Driver::probed(2);
        // Those of low-latency queues and of two pairs' doorbells come before.
        let window = driver.bench.machine.windows.window(3);
        let mut rx = driver.create_rx(256, 2);
        for id in 0..64 {
            driver.post_buffer(&mut rx, id, 2048);
        }
        driver.ring(&rx);
        Fixture { driver, rx, window }
    }

    fn unmask(&self, value: u32) {
        self.window.memory().write_obj(value, GuestAddress(QUIET_STRIDE + UNMASK)).unwrap();
    }

    /// Posts a buffer, and tells of it in memory.
    fn post(&mut self, id: u16) {
        self.driver.post_buffer(&mut self.rx, id, 2048);
        let tail = u32::from(self.rx.posted);
        self.window.memory().write_obj(tail, GuestAddress(RX_DOORBELL)).unwrap();
    }

    /// Frames that came, when all that can be done at once is done.
    fn received(&mut self) -> usize {
        self.driver.bench.settle();
        std::iter::from_fn(|| self.driver.take_completion(&mut self.rx)).count()
    }

    /// A frame arrives, and all that can be done at once is done.
    fn receive(&self) -> u64 {
        self.driver.bench.stages[0].bring(vec![0xff; 60]);
        self.settle()
    }

    fn settle(&self) -> u64 {
        self.driver.bench.settle();
        self.driver.bench.interrupts(2)
    }

    /// Interrupts until there are so many, or for 20 s.
    fn settle_until(&self, interrupts: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.settle() < interrupts && Instant::now() < deadline {}
        self.settle()
    }
}

#[test]
fn they_are_where_bar_0_is() {
    let it = Fixture::new();
    assert_eq!(it.window.placed(), Some(BAR0 + QUIET));
    it.driver.bench.function_reset();
    assert_eq!(it.window.placed(), None);
}

#[test]
fn an_unmask_written_before_counts_for_one_interrupt() {
    let it = Fixture::new();
    it.unmask(WANTED);
    assert_eq!(it.settle(), 0, "nothing is due");
    assert_eq!((it.receive(), it.receive()), (1, 1));
    it.unmask(WANTED);
    assert_eq!(it.settle_until(2), 2, "for the one that came while it was masked");
    it.unmask(WANTED);
    assert_eq!((it.receive(), it.receive()), (3, 3));
}

#[test]
fn an_unmask_written_while_an_interrupt_waits_is_found() {
    let it = Fixture::new();
    for round in 1..5 {
        assert_eq!(it.receive(), round - 1, "masked");
        it.unmask(WANTED);
        assert_eq!(it.settle_until(round), round);
    }
}

#[test]
fn delays_written_with_an_unmask_count_at_once() {
    let it = Fixture::new();
    it.unmask(WANTED | 1000);
    assert_eq!(it.receive(), 0, "put off by a millisecond");
    assert_eq!(it.settle_until(1), 1);
}

#[test]
fn a_bar_that_goes_leaves_no_unmask_behind() {
    let it = Fixture::new();
    assert_eq!(it.receive(), 0);
    it.unmask(WANTED);
    it.driver.bench.function.assign(REGISTERS, BAR0 + 0x800_0000);
    assert_eq!(it.window.placed(), Some(BAR0 + 0x800_0000 + QUIET));
    assert_eq!(it.settle(), 1, "it was written before");
}

#[test]
fn a_queue_made_anew_starts_masked() {
    let mut it = Fixture::new();
    it.unmask(WANTED);
    it.driver.destroy(2, &it.rx);
    it.rx = it.driver.create_rx(256, 2);
    it.driver.post_buffer(&mut it.rx, 0, 2048);
    it.driver.ring(&it.rx);
    assert_eq!(it.receive(), 0);
}

#[test]
fn buffers_told_of_in_memory_are_found_when_they_are_needed() {
    let mut it = Fixture::new();
    for _ in 0..64 {
        it.receive();
    }
    assert_eq!(it.received(), 64);
    it.post(64);
    it.receive();
    assert_eq!(it.received(), 1, "there was one when it came");
}

#[test]
fn frames_that_wait_for_buffers_come_when_there_are_some() {
    let mut it = Fixture::new();
    for _ in 0..66 {
        it.receive();
    }
    assert_eq!(it.received(), 64);
    for id in 64..66 {
        it.post(id);
        let deadline = Instant::now() + Duration::from_secs(20);
        while it.received() == 0 {
            assert!(Instant::now() < deadline, "the buffer was not found");
        }
    }
    let seen = it.driver.bench.card.inspect();
    let waits = seen.pairs[0].counters.get("rx_no_buffers");
    assert_eq!(waits, Some(3), "each wait counts once, and so does that for frames to come");
}

#[test]
fn a_receive_queue_made_anew_has_no_buffers() {
    let mut it = Fixture::new();
    it.post(64);
    it.driver.destroy(2, &it.rx);
    it.rx = it.driver.create_rx(256, 2);
    it.receive();
    assert_eq!(it.received(), 0);
}

#[test]
fn naps_grow_with_the_time_that_something_takes_and_begin_anew() {
    let (mut naps, begin) = (Naps::default(), Instant::now());
    let after = |us| begin + Duration::from_micros(us);
    for (us, nap) in [(0, 50), (400, 50), (800, 100), (8000, 1000), (800_000, 10_000)] {
        assert_eq!(naps.next(after(us)), Some(after(us + nap)));
    }
    naps.end();
    assert_eq!(naps.next(after(900_000)), Some(after(900_050)));
}

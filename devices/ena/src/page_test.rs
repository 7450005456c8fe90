//! A pair's page between traps and memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::ram_window::{RamWindow, RamWindows};
use device_core::testing::{TestWindow, TestWindows, ram};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::quiet::NAP;
use crate::registers;
use crate::testing::driver::{Driver, FATAL, transmit};

const AT: u64 = 0xe000_3000;

struct Fixture {
    page: Page,
    window: Arc<TestWindow>,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        let windows = TestWindows::default();
        let page = page(windows.allocate(WINDOW).unwrap());
        Fixture { page, window: windows.window(0), now: Instant::now() }
    }

    /// Rings until the page is memory.
    fn opened() -> Fixture {
        let fixture = Fixture::new();
        for tail in 1..=MANY {
            fixture.page.trapped(tail);
        }
        assert_eq!(fixture.page.turn(fixture.now), fixture.now.checked_add(NAP));
        assert_eq!(fixture.window.placed(), Some(AT));
        fixture
    }

    fn write(&self, register: u64, value: u32) {
        self.window.memory().write_obj(value, GuestAddress(register)).unwrap();
    }

    fn later(&mut self, by: Duration) -> Instant {
        self.now += by;
        self.now
    }
}

fn page(window: Arc<dyn RamWindow>) -> Page {
    let bell = Arc::new(SqDoorbell::new(EventFd::new(EFD_NONBLOCK).unwrap()));
    let page = Page::new(bell, Cells::new(window));
    page.mapped(Some(AT));
    page
}

#[test]
fn doorbells_that_wake_the_lane_stay_trapped() {
    let Fixture { page, window, now, .. } = Fixture::new();
    for tail in 0..1000 {
        assert!(page.bell.may_sleep(tail));
        page.trapped(tail + 1);
        assert_eq!(page.turn(now), None);
    }
    assert_eq!(page.bell.waker().read().unwrap(), 1000);
    assert_eq!(window.placed(), None);
}

#[test]
fn a_few_wasted_doorbells_now_and_then_stay_trapped() {
    let mut fixture = Fixture::new();
    for tail in 0..100 * MANY {
        fixture.page.trapped(tail);
        let now = fixture.later(SOON * 2 / MANY);
        assert_eq!(fixture.page.turn(now), None);
    }
    assert_eq!(fixture.window.placed(), None);
}

#[test]
fn what_is_written_to_the_memory_is_found() {
    let fixture = Fixture::opened();
    fixture.page.look();
    assert_eq!(fixture.page.bell.tail(), MANY, "nothing was written");
    fixture.write(TX_DOORBELL, 0xffff_0009);
    fixture.page.look();
    assert_eq!(fixture.page.bell.tail(), 9);
    fixture.write(TX_DOORBELL, 0);
    assert_eq!(fixture.page.turn(fixture.now), Some(fixture.now), "there is work");
    assert_eq!(fixture.page.bell.tail(), 0);
    assert!(fixture.page.bell.waker().read().is_err(), "nobody is to be woken");
}

#[test]
fn naps_are_longer_while_nothing_is_found_but_frames_do_not_wait_for_long() {
    let mut fixture = Fixture::opened();
    let soon = fixture.later(NAP * PART);
    assert_eq!(fixture.page.turn(soon), soon.checked_add(NAP));
    let later = fixture.later(NAP * PART);
    assert_eq!(fixture.page.turn(later), later.checked_add(NAP * 2));
    let late = fixture.later(PERIOD / 2);
    assert_eq!(fixture.page.turn(late), late.checked_add(LONGEST_NAP));
}

/// Naps that find something, and naps in vain; less than a period.
fn nap(fixture: &mut Fixture, finds: u32, vain: u32) {
    let step = PERIOD / (finds + vain + 1);
    for n in 0..finds + vain {
        let now = fixture.later(step);
        if n < finds {
            fixture.write(TX_DOORBELL, fixture.page.bell.tail() + 1);
            // What was found is worked at, and then there is no more.
            assert_eq!(fixture.page.turn(now), Some(now));
        }
        let next = fixture.page.turn(now).expect("the page is memory");
        assert!(next <= now + step, "the next turn is when a nap ends");
    }
}

#[test]
fn naps_in_vain_make_it_trapped_again_and_the_last_write_counts() {
    let mut fixture = Fixture::opened();
    nap(&mut fixture, 20, 20 * VAIN + 1);
    assert_eq!(fixture.window.placed(), Some(AT));
    fixture.write(TX_DOORBELL, 1234);
    let later = fixture.later(PERIOD);
    assert_eq!(fixture.page.turn(later), Some(later));
    assert_eq!(fixture.window.placed(), None);
    assert_eq!(fixture.page.bell.tail(), 1234);
    assert_eq!(fixture.page.turn(later), None);
    assert!(fixture.page.bell.may_sleep(1234));
    fixture.page.trapped(1235);
    assert_eq!(fixture.page.bell.waker().read().unwrap(), 1);
}

#[test]
fn turns_that_come_before_a_nap_is_over_are_not_in_vain() {
    let mut fixture = Fixture::opened();
    fixture.write(TX_DOORBELL, MANY + 1);
    fixture.page.turn(fixture.now);
    for _ in 0..100 {
        let now = fixture.later(NAP / 2);
        assert!(fixture.page.turn(now) > Some(now));
    }
    let later = fixture.later(PERIOD);
    assert!(fixture.page.turn(later).is_some());
    assert_eq!(fixture.window.placed(), Some(AT));
}

#[test]
fn a_find_counts_for_all_that_was_rung_for() {
    let mut fixture = Fixture::opened();
    fixture.write(TX_DOORBELL, MANY + 100);
    fixture.page.turn(fixture.now);
    nap(&mut fixture, 0, 100 * VAIN - 1);
    let later = fixture.later(PERIOD);
    assert!(fixture.page.turn(later).is_some());
    assert_eq!(fixture.window.placed(), Some(AT));
}

#[test]
fn finds_keep_it_memory() {
    let mut fixture = Fixture::opened();
    for _ in 0..3 {
        nap(&mut fixture, 50, 50 * VAIN - 1);
        let later = fixture.later(PERIOD / 2);
        assert!(fixture.page.turn(later).is_some());
        assert_eq!(fixture.window.placed(), Some(AT));
    }
}

#[test]
fn it_does_not_become_memory_again_at_once() {
    let mut fixture = Fixture::opened();
    nap(&mut fixture, 0, 9);
    let later = fixture.later(PERIOD);
    fixture.page.turn(later);
    for (wait, placed) in [(SOON, None), (REST - SOON * 2, None), (SOON * 2, Some(AT))] {
        let now = fixture.later(wait);
        for tail in 1..=2 * MANY {
            fixture.page.trapped(tail);
            fixture.page.turn(now);
        }
        assert_eq!(fixture.window.placed(), placed);
    }
}

#[test]
fn a_bar_that_moves_takes_its_pages_along_and_loses_no_write() {
    let mut fixture = Fixture::opened();
    fixture.write(TX_DOORBELL, 55);
    fixture.page.mapped(Some(AT + 0x100_0000));
    assert_eq!(fixture.window.placed(), None);
    assert_eq!(fixture.page.turn(fixture.now), Some(fixture.now));
    assert_eq!(fixture.page.bell.tail(), 55);
    for tail in 56..56 + MANY {
        fixture.page.trapped(tail);
    }
    let now = fixture.later(Duration::from_millis(1));
    fixture.page.turn(now);
    assert_eq!(fixture.window.placed(), Some(AT + 0x100_0000));
    fixture.page.mapped(None);
    assert_eq!(fixture.window.placed(), None);
}

#[test]
fn a_queue_made_anew_and_a_reset_forget_what_was_written() {
    let fixture = Fixture::opened();
    fixture.write(TX_DOORBELL, 100);
    fixture.page.forget();
    fixture.page.look();
    assert_eq!(fixture.page.bell.tail(), 0);
    fixture.write(TX_DOORBELL, 200);
    fixture.page.reset();
    assert_eq!(fixture.window.placed(), None);
    assert_eq!(fixture.page.turn(fixture.now), None);
    assert_eq!(fixture.page.bell.tail(), 0);
}

/// A host that has no memory slot left.
struct Refusing(GuestRam, AtomicU32);

impl RamWindow for Refusing {
    fn memory(&self) -> &GuestRam {
        &self.0
    }

    fn place(&self, _: Option<u64>) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::OutOfMemory.into())
    }
}

#[test]
fn where_the_host_has_no_memory_slot_traps_go_on() {
    let window = Arc::new(Refusing(ram(WINDOW as usize), AtomicU32::new(0)));
    let page = page(window.clone());
    let now = Instant::now();
    for tail in 1..=10 * MANY {
        page.trapped(tail);
        assert_eq!(page.turn(now), None);
    }
    assert_eq!(page.bell.tail(), 10 * MANY);
    assert_eq!(window.1.load(Ordering::Relaxed), 1, "it was asked once");
}

#[test]
fn frames_rung_for_in_memory_go_out() {
    let mut driver = Driver::probed(2);
    let mut tx = driver.create_tx(256, 1);
    // The first window is that of the low-latency queues.
    let window = driver.bench.machine.windows.window(1);
    let buffer = driver.bench.allocate(0x1000);
    for id in 0..16 {
        driver.post(&mut tx, transmit(id, buffer, 60));
        driver.bench.write(registers::page(0), u32::from(id) + 1);
    }
    driver.bench.settle();
    let at = window.placed().expect("the doorbells are memory");
    assert_eq!(at, 0xe000_3000);
    driver.post(&mut tx, transmit(16, buffer, 60));
    window.memory().write_obj(17u32, GuestAddress(TX_DOORBELL)).unwrap();
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while sent < 17 {
        assert!(Instant::now() < deadline, "the last frame is lost");
        driver.bench.settle();
        sent += driver.bench.stages[0].take_sent().len();
    }
    driver.reset(0);
    assert_eq!((window.placed(), driver.status() & FATAL), (None, 0));
}

//! Tests of interrupts by EVENT_IDX (virtio 1.2, 2.7.7.2; B51): when the driver wants one, no sooner, and always.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use device_core::testing::ram;
use proptest::prelude::*;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::SplitRing;
use crate::testing::ring::{DriverRing, readable};

const SIZE: u16 = 16;
const AT: u64 = 0x1000;

/// What either side does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The driver offers so many chains, as far as it has room.
    Offer(u16),
    /// The device takes so many, as far as there are, gives them back and shows them at once.
    Complete(u16),
    /// The driver takes all that came back and wants an interrupt after so many more.
    Take(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..=SIZE).prop_map(Act::Offer),
        (1..=SIZE).prop_map(Act::Complete),
        prop_oneof![3 => Just(0), 1 => 0..SIZE, 1 => Just(u16::MAX)].prop_map(Act::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn b51_an_interrupt_comes_when_its_index_is_passed_and_at_no_other_time(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let memory = ram(0x1_0000);
        let mut driver = DriverRing::new(&memory, AT, SIZE, true);
        let mut device = SplitRing::new(driver.queue(), memory, 0).unwrap();
        // Counters of chains that came back, and the one at which the driver wants to hear of it.
        let (mut shown, mut seen, mut wanted) = (0u16, 0u16, 0u16);
        for act in acts {
            match act {
                Act::Offer(count) => {
                    for _ in 0..count.min(driver.free() as u16) {
                        driver.offer(&[readable(0x8000, 64)]);
                    }
                }
                Act::Complete(count) => {
                    let before = shown;
                    for _ in 0..count {
                        let Some(head) = device.pop(|_| Ok(())).unwrap() else { break };
                        device.push(head, 0).unwrap();
                        shown = shown.wrapping_add(1);
                    }
                    let passed = wanted.wrapping_sub(before) < shown.wrapping_sub(before);
                    prop_assert_eq!(device.publish().unwrap(), passed, "{} {} {}", before, shown, wanted);
                }
                Act::Take(more) => {
                    seen = seen.wrapping_add(driver.take_all().len() as u16);
                    wanted = seen.wrapping_add(more);
                    driver.interrupt_after(more);
                }
            }
        }
    }
}

/// Both sides at once, on threads: a driver that sleeps when nothing is there has its next interrupt.
#[test]
fn b51_no_interrupt_is_lost_however_the_two_sides_meet() {
    let rounds: u32 = if std::env::var_os("VMM_LONG").is_some() { 1_000_000 } else { 100_000 };
    let memory = ram(0x1_0000);
    let mut driver = DriverRing::new(&memory, AT, SIZE, true);
    let mut device = SplitRing::new(driver.queue(), memory, 0).unwrap();
    let vector = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap());
    let ended = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(120);
    let wait = move |what: &str| {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    };
    std::thread::scope(|scope| {
        let (interrupt, ended) = (vector.clone(), &ended);
        scope.spawn(move || {
            let mut turn = 0u32;
            while !ended.load(Ordering::Relaxed) {
                // One at a time, or all that there are: both ways of meeting the driver.
                turn = turn.wrapping_add(1);
                let most = if turn.is_multiple_of(3) { SIZE } else { 1 };
                let mut any = false;
                for _ in 0..most {
                    let Some(head) = device.pop(|_| Ok(())).unwrap() else { break };
                    device.push(head, 0).unwrap();
                    any = true;
                }
                if device.publish().unwrap() {
                    interrupt.write(1).unwrap();
                }
                if !any {
                    wait("the driver offers nothing");
                }
            }
        });
        let mut taken = 0u32;
        while taken < rounds {
            for _ in 0..1 + taken % 5 {
                if driver.free() > 0 {
                    driver.offer(&[readable(0x8000, 64)]);
                }
            }
            loop {
                let before = taken;
                taken += driver.take_all().len() as u32;
                driver.interrupt_after(0);
                // The wish is out before the driver looks a last time.
                fence(Ordering::SeqCst);
                if taken == before && !driver.has_any() {
                    break;
                }
            }
            if driver.free() < usize::from(SIZE) {
                while vector.read().is_err() {
                    wait("an interrupt is lost");
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

//! Tests of a clock that goes on in another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use device_core::testing::mutants;
use proptest::prelude::*;

use super::*;
use crate::testing::*;

fn at(seconds: u64) -> (Rtc, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(seconds * 1000));
    let clock = time.clone();
    (Rtc::with_clock(move || Duration::from_millis(clock.load(Ordering::SeqCst))), time)
}

fn load(rtc: &Rtc, from: &Rtc) {
    let saved = serde_json::to_string(&from.to_saved().unwrap()).unwrap();
    rtc.load_saved(&serde_json::from_str(&saved).unwrap()).unwrap();
}

fn cell(rtc: &Rtc, index: u8) -> u8 {
    rtc.outb(0, index);
    rtc.inb(1)
}

#[test]
fn the_clock_goes_on_with_the_host_and_keeps_what_the_guest_set_it_ahead() {
    let (old, _) = at(1_000_000_000); // 2001-09-09, 01:46:40
    old.outb(0, 4);
    old.outb(1, 0x05); // four hours later
    let (new, _) = at(1_000_000_060);
    load(&new, &old);
    assert_eq!([4, 2, 0].map(|index| cell(&new, index)), [0x05, 0x47, 0x40]);
    assert_eq!(new.save().ahead, 4 * 3600);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let state = at(0).0.save();
    let try_load = |state| at(0).0.load(state).unwrap_err().to_string();
    let index = try_load(RtcState { index: 128, ..state.clone() });
    assert_eq!(index, "index of the rtc cannot be: the clock has no such cell");
    for ahead in [i64::MIN, i64::MAX] {
        let error = try_load(RtcState { ahead, ..state.clone() });
        assert!(error.starts_with("ahead of the rtc"), "{error}");
    }
    for (index, value) in [(0x0a, 0x80), (0x0c, 1), (0x0d, 0)] {
        let mut state = state.clone();
        state.ram[index] = value;
        let error = try_load(state);
        assert!(error.starts_with("ram of the rtc"), "{error}");
    }
}

#[test]
fn no_wrong_state_harms() {
    for mutant in mutants(&serde_json::to_value(at(5).0.save()).unwrap()) {
        let Ok(state) = serde_json::from_value::<RtcState>(mutant) else { continue };
        let (new, _) = at(5);
        if new.load(state.clone()).is_ok() {
            assert_eq!(new.save(), state);
        }
        (0..128).for_each(|index| {
            cell(&new, index);
        });
    }
    for ahead in [FARTHEST as i64, -(FARTHEST as i64)] {
        let (new, _) = at(1 << 33);
        new.load(RtcState { ahead, ..new.save() }).unwrap();
        (0..128).for_each(|index| {
            cell(&new, index);
        });
    }
}

proptest! {
    #[test]
    fn the_clock_shows_what_it_would_have(
        start in 0u64..1 << 33,
        before in accesses(2, 60),
        after in accesses(2, 60),
    ) {
        let (old, time) = at(start);
        before.iter().for_each(|access| { access.perform(&old); });
        // What a reader sees stands still for a moment.
        time.fetch_add(10, Ordering::SeqCst);
        let (new, other) = at(0);
        other.store(time.load(Ordering::SeqCst), Ordering::SeqCst);
        load(&new, &old);
        for access in after {
            prop_assert_eq!(access.perform(&old), access.perform(&new), "{:?}", access);
        }
        prop_assert_eq!(new.save(), old.save());
    }
}

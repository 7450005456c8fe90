//! The clock, read and set as Linux's `mc146818` library does; the tests own the time.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::testing::*;

/// 2038-01-19, 03:14:07, a Tuesday.
const LAST_OF_32_BITS: u64 = 2_147_483_647;

struct Machine {
    rtc: Rtc,
    nanos: Arc<AtomicU64>,
}

fn at(seconds: u64) -> Machine {
    let nanos = Arc::new(AtomicU64::new(seconds * 1_000_000_000));
    let clock = nanos.clone();
    let rtc = Rtc::with_clock(move || Duration::from_nanos(clock.load(Ordering::SeqCst)));
    Machine { rtc, nanos }
}

impl Machine {
    fn pass(&self, time: Duration) {
        self.nanos.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }

    fn cmos(&self, index: u8) -> u8 {
        self.rtc.outb(0, index);
        self.rtc.inb(1)
    }

    fn set_cmos(&self, index: u8, value: u8) {
        self.rtc.outb(0, index);
        self.rtc.outb(1, value);
    }

    /// Century to second.
    fn time(&self) -> [u8; 7] {
        [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map(|index| self.cmos(index))
    }

    /// As `mc146818_set_time`.
    fn set_time(&self, time: [u8; 7]) {
        let (a, b) = (self.cmos(STATUS_A), self.cmos(STATUS_B));
        self.set_cmos(STATUS_B, b | B_SET);
        self.set_cmos(STATUS_A, a | 0x70);
        for (index, value) in
            [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].into_iter().zip(time)
        {
            self.set_cmos(index, value);
        }
        self.set_cmos(STATUS_B, b);
        self.set_cmos(STATUS_A, a);
    }
}

#[test]
fn after_power_on_it_is_valid_bcd_24_hours_and_without_interrupts() {
    let m = at(0);
    assert_eq!(m.cmos(STATUS_A), A_DEFAULT);
    assert_eq!(m.cmos(STATUS_B), B_24_HOURS);
    assert_eq!(m.cmos(STATUS_C), 0);
    assert_eq!(m.cmos(STATUS_D), D_VALID);
    assert_eq!(m.rtc.inb(0), 0xff, "the index port is write-only");
}

#[test]
fn it_tells_the_hosts_time_in_bcd() {
    let m = at(LAST_OF_32_BITS);
    assert_eq!(m.time(), [0x20, 0x38, 0x01, 0x19, 0x03, 0x14, 0x07]);
    assert_eq!(m.cmos(WEEKDAY), 3);
    m.pass(Duration::from_secs(1));
    assert_eq!(m.time(), [0x20, 0x38, 0x01, 0x19, 0x03, 0x14, 0x08]);
}

#[test]
fn binary_and_12_hour_forms_are_read_as_status_b_says() {
    let m = at(LAST_OF_32_BITS + 12 * 3600);
    m.set_cmos(STATUS_B, B_24_HOURS | B_BINARY);
    assert_eq!(m.time(), [20, 38, 1, 19, 15, 14, 7]);
    m.set_cmos(STATUS_B, B_BINARY);
    assert_eq!(m.cmos(HOURS), 3 | HOUR_PM);
    m.set_cmos(STATUS_B, 0);
    assert_eq!(m.cmos(HOURS), 3 | HOUR_PM);
    let midnight = at(0);
    midnight.set_cmos(STATUS_B, 0);
    assert_eq!(midnight.cmos(HOURS), 0x12);
    let noon = at(43_200);
    noon.set_cmos(STATUS_B, 0);
    assert_eq!(noon.cmos(HOURS), 0x12 | HOUR_PM);
}

#[test]
fn the_update_flag_is_up_right_before_the_second_ends_and_only_then() {
    let m = at(100);
    let flag = |m: &Machine| m.cmos(STATUS_A) & A_UPDATING != 0;
    assert!(!flag(&m));
    m.pass(Duration::from_micros(999_755));
    assert!(!flag(&m));
    m.pass(Duration::from_micros(1));
    assert!(flag(&m));
    m.pass(Duration::from_micros(244));
    assert!(!flag(&m));
}

#[test]
fn a_slow_reader_who_saw_no_update_coming_reads_one_moment() {
    // 23:59:59.9997: the flag is down, and the second ends within the reads.
    let m = at(86_399);
    m.pass(Duration::from_micros(999_700));
    assert_eq!(m.cmos(STATUS_A) & A_UPDATING, 0);
    let mut time = [0; 7];
    for (cell, index) in time.iter_mut().zip([CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS]) {
        *cell = m.cmos(index);
        m.pass(Duration::from_micros(400));
    }
    assert_eq!(time, [0x19, 0x70, 0x01, 0x01, 0x23, 0x59, 0x59]);
    m.pass(Duration::from_millis(10));
    assert_eq!(m.time(), [0x19, 0x70, 0x01, 0x02, 0x00, 0x00, 0x00]);
}

#[test]
fn a_set_clock_goes_on_from_there() {
    let m = at(LAST_OF_32_BITS);
    m.set_time([0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58]);
    assert_eq!(m.time(), [0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58]);
    m.pass(Duration::from_secs(3));
    assert_eq!(m.time(), [0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x01]);
}

#[test]
fn time_stands_still_while_it_is_set() {
    let m = at(LAST_OF_32_BITS);
    m.set_cmos(STATUS_B, B_24_HOURS | B_SET);
    m.set_cmos(MINUTES, 0x77);
    m.pass(Duration::from_secs(100));
    assert_eq!(m.cmos(SECONDS), 0x07);
    assert_eq!(m.cmos(MINUTES), 0x77, "what was written is read, if a time or not");
    m.pass(Duration::from_nanos(999_999_999));
    assert_eq!(m.cmos(STATUS_A) & A_UPDATING, 0);
}

#[test]
fn a_time_that_is_none_leaves_the_clock_alone() {
    for nonsense in [
        [0x20, 0x24, 0x02, 0x30, 0x00, 0x00, 0x00],
        [0x20, 0x24, 0x13, 0x01, 0x00, 0x00, 0x00],
        [0x20, 0x24, 0x12, 0x01, 0x24, 0x00, 0x00],
        [0xff; 7],
        [0x20, 0x1a, 0x12, 0x01, 0x12, 0x00, 0x00],
    ] {
        let m = at(LAST_OF_32_BITS);
        m.set_time(nonsense);
        assert_eq!(m.time(), [0x20, 0x38, 0x01, 0x19, 0x03, 0x14, 0x07], "{nonsense:x?}");
    }
}

#[test]
fn a_single_cell_can_be_set_without_the_set_bit() {
    let m = at(LAST_OF_32_BITS);
    m.set_cmos(MINUTES, 0x15);
    assert_eq!(m.time(), [0x20, 0x38, 0x01, 0x19, 0x03, 0x15, 0x07]);
}

#[test]
fn twelve_hour_times_are_set_too() {
    let m = at(0);
    m.set_cmos(STATUS_B, B_SET);
    m.set_cmos(HOURS, 0x12 | HOUR_PM);
    m.set_cmos(STATUS_B, 0);
    m.set_cmos(STATUS_B, B_24_HOURS);
    assert_eq!(m.cmos(HOURS), 0x12);
}

#[test]
fn all_other_cells_are_ram() {
    let m = at(0);
    let ram = (0..128).filter(|index| !(0..=0x0d).contains(index) && *index != CENTURY);
    for index in ram.clone() {
        m.set_cmos(index, index ^ 0xa5);
    }
    for index in ram {
        assert_eq!(m.cmos(index), index ^ 0xa5);
    }
    m.set_cmos(0x80 | 0x40, 7);
    assert_eq!(m.cmos(0x40), 7, "the NMI bit is no part of the index");
}

#[test]
fn no_interrupt_is_ever_flagged() {
    let m = at(0);
    m.set_cmos(STATUS_B, B_24_HOURS | 0x70);
    m.pass(Duration::from_secs(10));
    assert_eq!(m.cmos(STATUS_C), 0);
}

proptest! {
    #[test]
    fn any_accesses_at_any_time_are_survived(
        start in 0..(u64::MAX / 2_000_000_000),
        steps in prop::collection::vec((0..128_u8, any::<u8>(), 0..3_000_000_000_u64), 0..100),
        wild in accesses(2, 50),
    ) {
        let m = at(start);
        for (index, value, time) in steps {
            m.set_cmos(index, value);
            m.pass(Duration::from_nanos(time));
            m.cmos(index);
        }
        for access in wild {
            access.perform(&m.rtc);
        }
        // And a real guest still can set it.
        m.set_cmos(STATUS_B, B_24_HOURS);
        m.set_time([0x20, 0x26, 0x07, 0x31, 0x23, 0x59, 0x59]);
        prop_assert_eq!(m.time(), [0x20, 0x26, 0x07, 0x31, 0x23, 0x59, 0x59]);
    }

    #[test]
    fn every_time_reads_back_in_every_form(seconds in 0..253_402_300_800_u64, form in 0..4_u8) {
        // `Civil` itself is checked day by day beside it.
        let m = at(seconds.min(9_000_000_000));
        m.set_cmos(STATUS_B, form << 1);
        let before = m.time();
        m.set_time(before);
        prop_assert_eq!(m.time(), before);
    }
}

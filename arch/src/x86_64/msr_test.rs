//! MSRs at the first run.

use super::*;

#[test]
fn memory_is_write_back_by_default_and_counters_start_in_step() {
    let value = |index| {
        let entry = boot_msrs().into_iter().find(|entry| entry.index == index);
        entry.map(|entry| entry.data)
    };
    assert_eq!(value(0x2FF), Some(0x806));
    assert_eq!(value(0x10), Some(0));
    assert_eq!(value(0x1A0).map(|bits| bits & 1), Some(1));
}

#[test]
fn what_a_guest_sets_is_saved_and_what_a_processor_can_do_is_not() {
    let own = [0x10, 0x3B, 0x1A0, 0x277, 0x2FF, 0x6E0, 0xC000_0080, 0xC000_0102, 0x4B56_4D06];
    assert!(own.into_iter().all(is_saved));
    // A counter, what the processor can do, and what KVM tells of nested guests.
    let others = [0xC1, 0x10A, 0x17B, 0x186, 0x480, 0x4B56_4DF0, u32::MAX];
    assert!(!others.into_iter().any(is_saved));
}

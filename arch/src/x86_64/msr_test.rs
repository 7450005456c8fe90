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

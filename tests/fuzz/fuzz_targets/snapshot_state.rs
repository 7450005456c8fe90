//! The state's file of a snapshot, which anybody may have written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for line in vmm::read_snapshot_by_hand(bytes.to_vec()) {
        assert!(!line.trim().is_empty() && !line.contains('\n'), "{line}");
    }
});

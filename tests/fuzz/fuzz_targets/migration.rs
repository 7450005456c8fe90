//! What a source of a machine says, which anybody may be.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for line in vmm::receive_machine_by_hand(bytes) {
        assert!(!line.trim().is_empty() && !line.contains('\n'), "{line}");
    }
});

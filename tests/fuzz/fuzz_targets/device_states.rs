//! States of devices: anything wrong in them is refused, or does no harm.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::device_states::run(bytes));

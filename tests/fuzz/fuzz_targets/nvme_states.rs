//! States of an NVMe controller, changed in places; refused, or a reset must bring the controller back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nvme::testing::hostile::states(bytes));

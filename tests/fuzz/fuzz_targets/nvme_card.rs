//! An NVMe controller whose guest does anything; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nvme::testing::hostile::run(bytes));

//! An NVMe controller's registers and doorbells; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nvme::testing::hostile::registers(bytes));

//! Entries of an NVMe controller's queues; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nvme::testing::hostile::commands(bytes));

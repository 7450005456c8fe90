//! An ENA card whose guest does anything; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ena::testing::hostile::run(bytes));

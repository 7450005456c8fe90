//! Descriptors of an ENA card's rings, in RAM and in its own memory; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ena::testing::hostile::rings(bytes));

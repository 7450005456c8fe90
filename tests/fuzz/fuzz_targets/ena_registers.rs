//! An ENA card's registers; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ena::testing::hostile::registers(bytes));

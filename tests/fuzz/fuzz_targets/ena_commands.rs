//! Entries of an ENA card's admin queue; a reset must bring it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ena::testing::hostile::commands(bytes));

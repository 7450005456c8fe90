//! States of an ENA card, changed in places; refused, or a reset must bring the card back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ena::testing::hostile::states(bytes));

//! A guest's addresses exchanged for others, in any heads of frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rewrite::run(bytes));

//! The begin of an overlay's file, which anybody may have written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::overlay_file::run(bytes));

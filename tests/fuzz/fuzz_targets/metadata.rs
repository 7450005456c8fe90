//! The metadata service: any frames of a guest, its connections, heads of requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::metadata::run(bytes));

//! Entropy, balloon and persistent memory: any chains, pauses, resets and wishes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_plain::run(bytes));

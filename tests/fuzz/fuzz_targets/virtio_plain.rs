//! Entropy, balloon, persistent memory and memory that is plugged: any chains, pauses, resets and wishes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_plain::run(bytes));

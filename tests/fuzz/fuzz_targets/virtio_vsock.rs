//! A vsock whose rings and packets are written by anyone, between clients and listeners that do what they like.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_vsock::run(bytes));

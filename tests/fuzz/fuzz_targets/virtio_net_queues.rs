//! A virtio network card whose rings, headers and commands are written by anyone.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_net::run(bytes));

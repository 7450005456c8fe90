//! A virtio disk whose rings and requests are written by anyone, on a host that does what it likes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_block::run(bytes));

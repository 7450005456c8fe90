//! A virtio device in an MMIO slot: any accesses, kicks and events.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::virtio_mmio::run(bytes));

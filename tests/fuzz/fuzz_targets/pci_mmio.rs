//! The PCI bus with two virtio cards: any accesses to configuration space, ports and BARs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::pci_mmio::run(bytes));

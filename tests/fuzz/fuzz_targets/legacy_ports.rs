//! The board's ports: any accesses to serial port, keyboard controller, clock and power registers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::legacy_ports::run(bytes));

//! Wide accesses to devices whose registers are one byte wide.

use device_core::bus::Width;

/// Reads as an ISA bus does it: an access wider than a byte goes to as many ports in a row.
pub(crate) fn read_bytes(offset: u64, width: Width, mut read: impl FnMut(u64) -> u8) -> u64 {
    let mut bytes = [0; 8];
    for (i, byte) in (0..width.bytes()).zip(&mut bytes) {
        *byte = read(offset.saturating_add(i));
    }
    u64::from_le_bytes(bytes)
}

/// Writes as an ISA bus does it: lowest port and lowest byte first.
pub(crate) fn write_bytes(offset: u64, width: Width, value: u64, mut write: impl FnMut(u64, u8)) {
    for (i, byte) in (0..width.bytes()).zip(value.to_le_bytes()) {
        write(offset.saturating_add(i), byte);
    }
}

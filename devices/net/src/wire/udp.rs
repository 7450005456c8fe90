//! UDP headers (RFC 768): the few fields that offloads need.

use super::put_be16;

/// The number of the protocol.
pub const PROTOCOL: u8 = 17;
/// Ports, length, checksum.
pub const HEADER: usize = 8;
/// Where the checksum is in the header; 0 there stands for none.
pub const CHECKSUM_AT: usize = 6;

/// Writes the length of header and payload; false if the header is cut off.
pub fn set_len(header: &mut [u8], len: u16) -> bool {
    put_be16(header, 4, len)
}

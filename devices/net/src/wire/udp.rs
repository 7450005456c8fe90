//! UDP headers (RFC 768): the few fields that offloads need.

/// The number of the protocol.
pub const PROTOCOL: u8 = 17;
/// Ports, length, checksum.
pub const HEADER: usize = 8;
/// Where the checksum is in the header; 0 there stands for none.
pub const CHECKSUM_AT: usize = 6;

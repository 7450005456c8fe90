//! Neighbour discovery in ICMPv6 (RFC 4861).

/// Its IP protocol number.
pub const PROTOCOL: u8 = 58;
/// Type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// Type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Where the address that either is about is, from the begin of the message.
pub const TARGET: std::ops::Range<usize> = 8..24;
/// Where the checksum is.
pub const CHECKSUM_AT: usize = 2;

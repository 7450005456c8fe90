//! Neighbour discovery in ICMPv6 (RFC 4861).

/// Its IP protocol number.
pub const PROTOCOL: u8 = 58;
/// Types of errors, which carry the begin of the packet that they are about (RFC 4443, 2.1 and 3).
pub const ERRORS: std::ops::RangeInclusive<u8> = 1..=4;
/// Types of a report and an end of membership (RFC 2710), and of a report of several (RFC 9777).
pub const MEMBERSHIP: [u8; 2] = [131, 132];
/// See [`MEMBERSHIP`].
pub const MEMBERSHIPS: u8 = 143;
/// Type of a router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type of a router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type of a redirect.
pub const REDIRECT: u8 = 137;
/// Type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// Type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Where the address that either is about is, from the begin of the message.
pub const TARGET: std::ops::Range<usize> = 8..24;
/// Where the checksum is.
pub const CHECKSUM_AT: usize = 2;

//! ARP for IPv4 over Ethernet (RFC 826).

/// What every such packet begins with: the kinds of both addresses, and their lengths.
pub const IPV4_OVER_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// Bytes of a packet.
pub const LEN: usize = 28;
/// Where it says what it is.
pub const OPERATION_AT: usize = 6;
/// It asks.
pub const REQUEST: u16 = 1;
/// Where the sender's Ethernet address is.
pub const SENDER_MAC_AT: usize = 8;
/// Where the sender's IPv4 address is.
pub const SENDER_AT: usize = 14;
/// Where the Ethernet address is that is asked for.
pub const TARGET_MAC_AT: usize = 18;
/// Where the IPv4 address is that it is about.
pub const TARGET_AT: usize = 24;

//! TCP headers (RFC 9293): the few fields that offloads need.

/// The number of the protocol.
pub const PROTOCOL: u8 = 6;
/// Shortest header, without options.
pub const HEADER: usize = 20;
/// Where the checksum is in the header.
pub const CHECKSUM_AT: usize = 16;

const FLAGS_AT: usize = 13;
const CWR: u8 = 0x80;

/// Whether the sender has halved its window, which only the first of several segments may say.
pub fn has_cwr(header: &[u8]) -> bool {
    header.get(FLAGS_AT).is_some_and(|flags| flags & CWR != 0)
}

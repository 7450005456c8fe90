//! TCP headers (RFC 9293): the few fields that offloads need.

use super::put_be32;

/// The number of the protocol.
pub const PROTOCOL: u8 = 6;
/// Bytes of the shortest header, without options.
pub const HEADER: usize = 20;
/// Where the checksum is in the header.
pub const CHECKSUM_AT: usize = 16;

const SEQUENCE_AT: usize = 4;
const OFFSET_AT: usize = 12;
const FLAGS_AT: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Whether the sender has halved its window, which only the first of several segments may say.
pub fn has_cwr(header: &[u8]) -> bool {
    header.get(FLAGS_AT).is_some_and(|flags| flags & CWR != 0)
}

/// Bytes of a header with its options, as it says; 0 if that is cut off.
pub fn header_len(header: &[u8]) -> usize {
    header.get(OFFSET_AT).map_or(0, |word| usize::from(word >> 4).saturating_mul(4))
}

/// The sequence number; `None` if the header is cut off.
pub fn sequence(header: &[u8]) -> Option<u32> {
    header.get(SEQUENCE_AT..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Writes the sequence number; false if the header is cut off.
pub fn set_sequence(header: &mut [u8], sequence: u32) -> bool {
    put_be32(header, SEQUENCE_AT, sequence)
}

/// Clears what only the first of several segments may say, and what only the last.
pub fn keep_flags(header: &mut [u8], first: bool, last: bool) {
    let not_first = if first { 0 } else { CWR };
    let not_last = if last { 0 } else { FIN | PSH };
    if let Some(flags) = header.get_mut(FLAGS_AT) {
        *flags &= !(not_first | not_last);
    }
}

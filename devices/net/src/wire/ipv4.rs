//! IPv4 headers (RFC 791).

use super::checksum::Sum;
use super::{be16, put_be16};

/// Bytes of the shortest header, without options.
pub const HEADER: usize = 20;
const IDENTIFICATION_AT: usize = 4;
const CHECKSUM_AT: usize = 10;
/// Where source and destination are.
pub const ADDRESSES: std::ops::Range<usize> = 12..20;
/// More fragments, and the offset of this one.
const FRAGMENT: u16 = 0x3fff;

/// A header, whole and with the right version.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// The header that begins at the first of these bytes.
    pub fn of(packet: &'a [u8]) -> Option<Ipv4<'a>> {
        let first = *packet.first()?;
        let len = usize::from(first & 0xf).saturating_mul(4);
        let header = packet.get(..len).filter(|_| first >> 4 == 4 && len >= HEADER)?;
        Some(Ipv4 { header })
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Bytes of header and payload, as it says.
    pub fn total_len(&self) -> u16 {
        be16(self.header, 2).unwrap_or_default()
    }

    /// Tells packets apart whose fragments are put together again.
    pub fn identification(&self) -> u16 {
        be16(self.header, IDENTIFICATION_AT).unwrap_or_default()
    }

    /// Number of the protocol inside.
    pub fn protocol(&self) -> u8 {
        self.header.get(9).copied().unwrap_or_default()
    }

    /// Whether it is a piece of a packet, first and last included.
    pub fn is_fragment(&self) -> bool {
        be16(self.header, 6).is_some_and(|word| word & FRAGMENT != 0)
    }

    /// Source and destination, one behind the other.
    pub fn addresses(&self) -> &'a [u8] {
        self.header.get(ADDRESSES).unwrap_or_default()
    }
}

/// Whether the checksum of a whole header, options and all, is right.
#[inline]
pub fn is_sum_right(header: &[u8]) -> bool {
    let mut sum = Sum::default();
    sum.add(header);
    sum.is_right()
}

/// Writes the total length; false if the header is cut off.
pub fn set_total_len(header: &mut [u8], len: u16) -> bool {
    put_be16(header, 2, len)
}

/// Writes the identification; false if the header is cut off.
pub fn set_identification(header: &mut [u8], identification: u16) -> bool {
    put_be16(header, IDENTIFICATION_AT, identification)
}

/// Sums the header up anew; false if it is cut off.
pub fn set_sum(header: &mut [u8]) -> bool {
    if !put_be16(header, CHECKSUM_AT, 0) {
        return false;
    }
    let mut sum = Sum::default();
    sum.add(header);
    put_be16(header, CHECKSUM_AT, !sum.value())
}

//! IPv6 headers and the extension headers behind them (RFC 8200).

use super::{be16, put_be16};

/// Bytes of the fixed header.
pub const HEADER: usize = 40;
/// Where source and destination are.
pub const ADDRESSES: std::ops::Range<usize> = 8..40;
/// Extension headers looked through; more are taken for an unknown protocol.
pub const MAX_EXTENSIONS: usize = 8;
const FRAGMENT: u8 = 44;
/// Hop-by-hop options, routing, destination options: their second byte is their length in units
/// of 8 bytes, the first 8 not counted.
const SKIPPED: [u8; 3] = [0, 43, 60];

/// A fixed header, whole and with the right version.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    header: &'a [u8; HEADER],
}

/// Where a chain of extension headers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Number of the protocol there.
    pub protocol: u8,
    /// Where its header begins, from the begin of the fixed header.
    pub at: usize,
    /// It is, or may be, cut to pieces.
    pub fragment: bool,
}

impl<'a> Ipv6<'a> {
    /// The header that begins at the first of these bytes.
    pub fn of(packet: &'a [u8]) -> Option<Ipv6<'a>> {
        let header = packet.first_chunk()?;
        (packet.first()? >> 4 == 6).then_some(Ipv6 { header })
    }

    /// Bytes behind the fixed header, as it says.
    pub fn payload_len(&self) -> u16 {
        be16(self.header, 4).unwrap_or_default()
    }

    /// Source and destination, one behind the other.
    pub fn addresses(&self) -> &'a [u8] {
        self.header.get(ADDRESSES).unwrap_or_default()
    }

    /// Walks the extension headers within `packet`, which begins with this header. `None` if they
    /// lead out of it or are too many.
    pub fn end(&self, packet: &[u8]) -> Option<End> {
        let mut end = End { protocol: self.header.get(6).copied()?, at: HEADER, fragment: false };
        for _ in 0..MAX_EXTENSIONS {
            if end.protocol == FRAGMENT {
                end.fragment = true;
                return Some(end);
            }
            if !SKIPPED.contains(&end.protocol) {
                return Some(end);
            }
            let [next, units] = *packet.get(end.at..)?.first_chunk()?;
            end.protocol = next;
            end.at = end.at.checked_add(usize::from(units).checked_add(1)?.checked_mul(8)?)?;
        }
        None
    }
}

/// Writes the payload length; false if the header is cut off.
pub fn set_payload_len(header: &mut [u8], len: u16) -> bool {
    put_be16(header, 4, len)
}

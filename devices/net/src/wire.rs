//! Headers of packets as checked views: nothing is read past the bytes that are there.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod layers;
pub mod tcp;
#[cfg(test)]
pub mod testing;
pub mod udp;

/// Big-endian, as all numbers on the wire.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Bytes of a fixed number, such as an address.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes a number in place; false, and nothing written, if it is not all within.
pub(crate) fn put_be16(bytes: &mut [u8], at: usize, value: u16) -> bool {
    put(bytes, at, value.to_be_bytes())
}

/// Writes a number in place; false, and nothing written, if it is not all within.
pub(crate) fn put_be32(bytes: &mut [u8], at: usize, value: u32) -> bool {
    put(bytes, at, value.to_be_bytes())
}

/// Writes bytes in place; false, and nothing written, if they are not all within.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> bool {
    let place = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    place.map(|place| *place = value).is_some()
}

//! The 12 bytes between a frame's metadata and a TAP or a virtio driver: `virtio_net_hdr` with
//! `num_buffers` (virtio 1.2, 5.1.6), little-endian.

use crate::frame::{Csum, FrameMeta, Gso, GsoKind};

/// Bytes of the header.
pub const LEN: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Why a header says something impossible about its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// `csum_start` and `csum_offset` lead beyond the frame's end.
    #[error("the checksum lies outside of the frame")]
    CsumOutside,
    /// `gso_type` has a number that is not known.
    #[error("unknown segmentation")]
    UnknownGso,
    /// `gso_size` is 0, but segmentation is asked for.
    #[error("segments of no length")]
    EmptySegment,
}

/// Reads the header of a frame of `len` bytes. Unknown flags are ignored, as the specification
/// demands. Fails if it says something that cannot be of a frame of that length.
pub fn decode(header: &[u8; LEN], len: usize) -> Result<FrameMeta, BadHeader> {
    let [flags, gso, h0, h1, g0, g1, s0, s1, o0, o1, ..] = *header;
    let csum = if flags & NEEDS_CSUM != 0 {
        let (start, offset) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([o0, o1]));
        // Three 16-bit numbers cannot wrap a usize.
        let end = usize::from(start).wrapping_add(usize::from(offset)).wrapping_add(2);
        if end > len {
            return Err(BadHeader::CsumOutside);
        }
        Csum::Needed { start, offset }
    } else if flags & DATA_VALID != 0 {
        Csum::Valid
    } else {
        Csum::Unknown
    };
    let kind = match gso & !GSO_ECN {
        GSO_NONE => return Ok(FrameMeta { csum, ..FrameMeta::default() }),
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP_L4 => GsoKind::Udp,
        _ => return Err(BadHeader::UnknownGso),
    };
    let segment = u16::from_le_bytes([g0, g1]);
    if segment == 0 {
        return Err(BadHeader::EmptySegment);
    }
    // The length of headers is a hint that may be wrong; one past the frame would be refused.
    let headers = u16::from_le_bytes([h0, h1]).min(u16::try_from(len).unwrap_or(u16::MAX));
    let gso = Some(Gso { kind, ecn: gso & GSO_ECN != 0, segment, headers });
    Ok(FrameMeta { csum, gso, hash: None })
}

/// Writes the header of a frame that takes `buffers` receive buffers.
pub fn encode(meta: &FrameMeta, buffers: u16) -> [u8; LEN] {
    let (flags, start, offset) = match meta.csum {
        Csum::Unknown => (0, 0, 0),
        Csum::Valid => (DATA_VALID, 0, 0),
        Csum::Needed { start, offset } => (NEEDS_CSUM, start, offset),
    };
    let (gso, segment, headers) = match meta.gso {
        None => (GSO_NONE, 0, 0),
        Some(gso) => {
            let kind = match gso.kind {
                GsoKind::Tcp4 => GSO_TCPV4,
                GsoKind::Tcp6 => GSO_TCPV6,
                GsoKind::Udp => GSO_UDP_L4,
            };
            (if gso.ecn { kind | GSO_ECN } else { kind }, gso.segment, gso.headers)
        }
    };
    let [h0, h1] = headers.to_le_bytes();
    let [g0, g1] = segment.to_le_bytes();
    let [s0, s1] = start.to_le_bytes();
    let [o0, o1] = offset.to_le_bytes();
    let [b0, b1] = buffers.to_le_bytes();
    [flags, gso, h0, h1, g0, g1, s0, s1, o0, o1, b0, b1]
}

#[cfg(test)]
#[path = "vnet_hdr_test.rs"]
mod tests;

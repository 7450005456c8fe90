//! Ethernet headers, with VLAN tags (IEEE 802.3, 802.1Q).

use super::be16;

/// Bytes of a header: both addresses and the type.
pub const HEADER: usize = 14;
/// Bytes of a VLAN tag.
pub const TAG: usize = 4;
/// Tags looked through: a service tag and a customer tag.
pub const MAX_TAGS: u8 = 2;

/// Type of IPv4 packets (IEEE 802 numbers by IANA).
pub const IPV4: u16 = 0x0800;
/// Type of IPv6 packets.
pub const IPV6: u16 = 0x86dd;
/// Type of ARP packets.
pub const ARP: u16 = 0x0806;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Whether what is of this type begins with a VLAN tag.
pub fn is_tag(kind: u16) -> bool {
    TAGS.contains(&kind)
}

/// What an Ethernet header leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// VLAN tags looked through, at most [`MAX_TAGS`].
    pub tags: u8,
    /// Type of what is behind header and tags.
    pub kind: u16,
    /// Where that begins.
    pub payload_at: usize,
}

impl Link {
    /// Looks through the tags; `None` if the header is cut off.
    pub fn of(frame: &[u8]) -> Option<Link> {
        let mut link = Link { tags: 0, kind: be16(frame, 12)?, payload_at: HEADER };
        while link.tags < MAX_TAGS && is_tag(link.kind) {
            link.kind = be16(frame, link.payload_at.saturating_add(2))?;
            link.payload_at = link.payload_at.saturating_add(TAG);
            link.tags = link.tags.saturating_add(1);
        }
        Some(link)
    }
}

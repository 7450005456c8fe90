//! What of a frame is hashed: its protocol, and the fields selected for it.
//!
//! ```text
//! Ethernet ─ up to 2 tags ─┬─ IPv4 ─── TCP, UDP, other; or a fragment
//!                          ├─ IPv6 ─ up to 4 extension headers ─ TCP, UDP, other
//!                          └─ all else
//! ```
//! The kernel's program (`steer`) takes the very same way.

use bitflags::bitflags;
use serde::Serialize;

use crate::wire::layers::{L3, L4, Layers};
use crate::wire::{ipv4, ipv6};

pub(super) const ETHERNET: usize = 14;
pub(super) const TAG: usize = 4;
pub(super) const MAX_TAGS: usize = 2;
pub(super) const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
/// Extension headers walked; what is behind more is not looked at.
pub(super) const MAX_EXTENSIONS: usize = 4;

pub(super) const ETH_IPV4: u16 = 0x0800;
pub(super) const ETH_IPV6: u16 = 0x86dd;
pub(super) const ETH_TAGS: [u16; 2] = [0x8100, 0x88a8];
/// More fragments, and the offset of this one (RFC 791, 3.1).
pub(super) const FRAGMENT: u16 = 0x3fff;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// Extension headers that say their length in units of 8 bytes after the first 8 (RFC 8200, 4.3,
/// 4.4 and 4.6): hop-by-hop options, routing, destination options.
pub(super) const SKIPPED: [u8; 3] = [0, 43, 60];
pub(super) const IPV6_FRAGMENT: u8 = 44;

/// The kinds of frames for which fields are selected. Up to 9 the numbers are ENA's (spec 6.7;
/// `ena_admin_flow_hash_proto` of Linux `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Protocol {
    /// TCP over IPv4.
    Tcp4 = 0,
    /// UDP over IPv4.
    Udp4 = 1,
    /// TCP over IPv6.
    Tcp6 = 2,
    /// UDP over IPv6.
    Udp6 = 3,
    /// IPv4 with another protocol, or with one cut off.
    Ip4 = 4,
    /// IPv6 with another protocol, or with one cut off, and no extension headers.
    Ip6 = 5,
    /// Every fragment of IPv4.
    Ip4Fragment = 6,
    /// All else.
    NotIp = 7,
    /// TCP behind IPv6 extension headers.
    Tcp6Extended = 8,
    /// Anything but TCP and UDP behind IPv6 extension headers, and every IPv6 fragment.
    Ip6Extended = 9,
    /// UDP behind IPv6 extension headers. ENA has no number of its own for it: set it like 9.
    Udp6Extended = 10,
}

impl Protocol {
    /// How many kinds there are.
    pub const COUNT: usize = 11;
    /// All kinds, in order of their numbers.
    pub const ALL: [Protocol; Protocol::COUNT] = [
        Protocol::Tcp4,
        Protocol::Udp4,
        Protocol::Tcp6,
        Protocol::Udp6,
        Protocol::Ip4,
        Protocol::Ip6,
        Protocol::Ip4Fragment,
        Protocol::NotIp,
        Protocol::Tcp6Extended,
        Protocol::Ip6Extended,
        Protocol::Udp6Extended,
    ];

    /// The fields that frames of this kind have.
    pub fn fields(self) -> Fields {
        match self {
            Protocol::Tcp4
            | Protocol::Udp4
            | Protocol::Tcp6
            | Protocol::Udp6
            | Protocol::Tcp6Extended
            | Protocol::Udp6Extended => Fields::ADDRESSES.union(Fields::PORTS),
            Protocol::Ip4 | Protocol::Ip6 | Protocol::Ip4Fragment | Protocol::Ip6Extended => {
                Fields::ADDRESSES
            }
            Protocol::NotIp => Fields::MACS,
        }
    }

    /// The kind of packet that TCP and UDP travel in.
    pub fn without_ports(self) -> Protocol {
        match self {
            Protocol::Tcp4 | Protocol::Udp4 => Protocol::Ip4,
            Protocol::Tcp6 | Protocol::Udp6 => Protocol::Ip6,
            Protocol::Tcp6Extended | Protocol::Udp6Extended => Protocol::Ip6Extended,
            other => other,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp4 => "TCP over IPv4",
            Protocol::Udp4 => "UDP over IPv4",
            Protocol::Tcp6 | Protocol::Tcp6Extended => "TCP over IPv6",
            Protocol::Udp6 | Protocol::Udp6Extended => "UDP over IPv6",
            Protocol::Ip4 | Protocol::Ip4Fragment => "IPv4",
            Protocol::Ip6 | Protocol::Ip6Extended => "IPv6",
            Protocol::NotIp => "Ethernet",
        }
    }

    /// Whether the hash tells flows of TCP or UDP apart.
    pub fn has_ports(self) -> bool {
        self.fields().contains(Fields::PORTS)
    }
}

bitflags! {
    /// Fields of a frame; the bits are ENA's (spec 6.7).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Fields: u16 {
        /// Destination MAC.
        const L2_DESTINATION = 1 << 0;
        /// Source MAC.
        const L2_SOURCE = 1 << 1;
        /// Destination address.
        const L3_DESTINATION = 1 << 2;
        /// Source address.
        const L3_SOURCE = 1 << 3;
        /// Destination port.
        const L4_DESTINATION = 1 << 4;
        /// Source port.
        const L4_SOURCE = 1 << 5;

        /// Both MACs.
        const MACS = Self::L2_DESTINATION.bits() | Self::L2_SOURCE.bits();
        /// Both addresses.
        const ADDRESSES = Self::L3_DESTINATION.bits() | Self::L3_SOURCE.bits();
        /// Both ports.
        const PORTS = Self::L4_DESTINATION.bits() | Self::L4_SOURCE.bits();
        /// What is hashed as source of either layer.
        const SOURCES =
            Self::L2_SOURCE.bits() | Self::L3_SOURCE.bits();
        /// What is hashed as destination of either layer.
        const DESTINATIONS =
            Self::L2_DESTINATION.bits() | Self::L3_DESTINATION.bits();
    }
}

impl Fields {
    /// Names of those that there are, in order of hashing.
    pub fn names(self) -> Vec<&'static str> {
        const NAMES: [(Fields, &str); 6] = [
            (Fields::L2_SOURCE, "source MAC"),
            (Fields::L3_SOURCE, "source address"),
            (Fields::L2_DESTINATION, "destination MAC"),
            (Fields::L3_DESTINATION, "destination address"),
            (Fields::L4_SOURCE, "source port"),
            (Fields::L4_DESTINATION, "destination port"),
        ];
        let named = NAMES.iter().filter(|(field, _)| self.contains(*field));
        named.map(|(_, name)| *name).collect()
    }
}

/// The fields hashed for each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection([Fields; Protocol::COUNT]);

impl Selection {
    /// No hash for anything.
    pub const NONE: Selection = Selection([Fields::empty(); Protocol::COUNT]);

    /// Everything that each protocol has: what ENA drivers select, and the card has at first.
    pub fn all() -> Selection {
        Selection(Protocol::ALL.map(Protocol::fields))
    }

    /// The fields hashed for `protocol`; with none there is no hash.
    pub fn of(&self, protocol: Protocol) -> Fields {
        self.0.get(protocol as usize).copied().unwrap_or_default()
    }

    /// Selects fields for `protocol`; false, and nothing changed, if it does not have them.
    pub fn set(&mut self, protocol: Protocol, fields: Fields) -> bool {
        match self.0.get_mut(protocol as usize) {
            Some(place) if protocol.fields().contains(fields) => *place = fields,
            _ => return false,
        }
        true
    }
}

/// What of a frame can be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    /// What kind of frame it is.
    pub protocol: Protocol,
    /// Addresses of the third layer, or of the second if there is no IP; 4, 16 or 6 bytes each.
    pub source: &'a [u8],
    /// The same of where it goes.
    pub destination: &'a [u8],
    /// Source and destination port as they are in the frame; zeros without.
    pub ports: [u8; 4],
}

impl Flow<'_> {
    /// All that can be hashed, in the order of hashing.
    pub fn parts(&self) -> [(Fields, &[u8]); 4] {
        let (source, destination) = self.ports.split_at(2);
        [
            (Fields::SOURCES, self.source),
            (Fields::DESTINATIONS, self.destination),
            (Fields::L4_SOURCE, source),
            (Fields::L4_DESTINATION, destination),
        ]
    }
}

/// Finds the protocol and the fields of the frame that begins with `head`. A frame too short for
/// what its headers announce counts as the last thing that is whole.
pub fn classify(head: &[u8]) -> Flow<'_> {
    let mut at = ETHERNET;
    let mut kind = be16(head, 12);
    for _ in 0..MAX_TAGS {
        if !kind.is_some_and(|kind| ETH_TAGS.contains(&kind)) {
            break;
        }
        kind = be16(head, at.saturating_add(2));
        at = at.saturating_add(TAG);
    }
    let ip = match kind {
        Some(ETH_IPV4) => ipv4(head, at),
        Some(ETH_IPV6) => ipv6(head, at),
        _ => None,
    };
    ip.unwrap_or_else(|| Flow {
        protocol: Protocol::NotIp,
        source: head.get(6..12).unwrap_or_default(),
        destination: head.get(..6).unwrap_or_default(),
        ports: [0; 4],
    })
}

/// The same as [`classify`], for a frame whose headers were found already. Only what is neither TCP
/// nor UDP, and what has extension headers, is looked at anew.
#[inline]
pub fn classify_found<'a>(head: &'a [u8], layers: &Layers) -> Flow<'a> {
    found(head, layers).unwrap_or_else(|| classify(head))
}

#[inline]
fn found<'a>(head: &'a [u8], layers: &Layers) -> Option<Flow<'a>> {
    let (protocol, addresses, fixed) = match (layers.l3?, layers.l4?) {
        (L3::Ipv4, L4::Tcp) => (Protocol::Tcp4, ipv4::ADDRESSES, None),
        (L3::Ipv4, L4::Udp) => (Protocol::Udp4, ipv4::ADDRESSES, None),
        (L3::Ipv6, L4::Tcp) => (Protocol::Tcp6, ipv6::ADDRESSES, Some(ipv6::HEADER)),
        (L3::Ipv6, L4::Udp) => (Protocol::Udp6, ipv6::ADDRESSES, Some(ipv6::HEADER)),
    };
    if fixed.is_some_and(|len| layers.l3_at.checked_add(len) != Some(layers.l4_at)) {
        return None;
    }
    let addresses = head.get(layers.l3_at..)?.get(addresses)?;
    let (source, destination) = addresses.split_at_checked(addresses.len() >> 1)?;
    Some(Flow { protocol, source, destination, ports: ports(head, layers.l4_at)? })
}

fn ipv4(head: &[u8], at: usize) -> Option<Flow<'_>> {
    let header = head.get(at..at.checked_add(IPV4)?)?;
    let first = *header.first()?;
    let len = usize::from(first & 0xf).checked_mul(4)?;
    if first >> 4 != 4 || len < IPV4 {
        return None;
    }
    let fragment = be16(header, 6)? & FRAGMENT != 0;
    let ports = ports(head, at.checked_add(len)?);
    let (protocol, ports) = match (*header.get(9)?, ports) {
        _ if fragment => (Protocol::Ip4Fragment, None),
        (TCP, Some(_)) => (Protocol::Tcp4, ports),
        (UDP, Some(_)) => (Protocol::Udp4, ports),
        _ => (Protocol::Ip4, None),
    };
    let (source, destination) = (header.get(12..16)?, header.get(16..20)?);
    Some(Flow { protocol, source, destination, ports: ports.unwrap_or_default() })
}

fn ipv6(head: &[u8], at: usize) -> Option<Flow<'_>> {
    let mut at = at.checked_add(IPV6)?;
    let header = head.get(at.checked_sub(IPV6)?..at)?;
    if header.first()? >> 4 != 6 {
        return None;
    }
    let (source, destination) = (header.get(8..24)?, header.get(24..40)?);
    let mut next = *header.get(6)?;
    let mut extended = false;
    for _ in 0..MAX_EXTENSIONS {
        if !SKIPPED.contains(&next) {
            break;
        }
        extended = true;
        let Some([after, units]) = bytes(head, at) else { break };
        next = after;
        at = at.checked_add(usize::from(units).checked_add(1)?.checked_mul(8)?)?;
    }
    extended |= next == IPV6_FRAGMENT;
    let ports = ports(head, at);
    let (protocol, ports) = match (next, ports, extended) {
        (TCP, Some(_), false) => (Protocol::Tcp6, ports),
        (UDP, Some(_), false) => (Protocol::Udp6, ports),
        (TCP, Some(_), true) => (Protocol::Tcp6Extended, ports),
        (UDP, Some(_), true) => (Protocol::Udp6Extended, ports),
        (_, _, false) => (Protocol::Ip6, None),
        (_, _, true) => (Protocol::Ip6Extended, None),
    };
    Some(Flow { protocol, source, destination, ports: ports.unwrap_or_default() })
}

fn ports(head: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes(head, at)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    self::bytes(bytes, at).map(u16::from_be_bytes)
}

fn bytes<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
#[path = "classify_test.rs"]
mod tests;

//! Where a frame's headers are, found once for all that want to know.

use super::checksum::{Sum, pseudo_header};
use super::ethernet::{self, Link};
use super::ipv4::{self, Ipv4};
use super::ipv6::{self, Ipv6};
use super::{tcp, udp};

/// A network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L3 {
    /// RFC 791.
    Ipv4,
    /// RFC 8200.
    Ipv6,
}

/// A transport layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl L4 {
    /// The transport of an IP protocol number.
    pub fn of_protocol(protocol: u8) -> Option<L4> {
        match protocol {
            tcp::PROTOCOL => Some(L4::Tcp),
            udp::PROTOCOL => Some(L4::Udp),
            _ => None,
        }
    }

    /// Its IP protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            L4::Tcp => tcp::PROTOCOL,
            L4::Udp => udp::PROTOCOL,
        }
    }

    /// Bytes of the shortest header.
    pub fn header_len(self) -> usize {
        match self {
            L4::Tcp => tcp::HEADER,
            L4::Udp => udp::HEADER,
        }
    }

    /// Where the checksum is in the header.
    pub fn checksum_at(self) -> usize {
        match self {
            L4::Tcp => tcp::CHECKSUM_AT,
            L4::Udp => udp::CHECKSUM_AT,
        }
    }
}

/// The headers of one frame, as far as they are whole in its head. Offsets are from its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// VLAN tags.
    pub tags: u8,
    /// `None` if it is not IP.
    pub l3: Option<L3>,
    /// Where the network header begins; of no matter without one.
    pub l3_at: usize,
    /// `None` if it is neither TCP nor UDP, or a fragment.
    pub l4: Option<L4>,
    /// Where the transport header begins; of no matter without one.
    pub l4_at: usize,
    /// Bytes of the transport header and what it carries, as the network header says.
    pub l4_len: usize,
    /// A piece of a packet.
    pub fragment: bool,
}

impl Layers {
    /// Finds them in the first bytes of a frame.
    pub fn of(head: &[u8]) -> Layers {
        let Some(link) = Link::of(head) else { return Layers::default() };
        let found = Layers { tags: link.tags, l3_at: link.payload_at, ..Layers::default() };
        let packet = head.get(link.payload_at..).unwrap_or_default();
        match link.kind {
            ethernet::IPV4 => found.ipv4(packet),
            ethernet::IPV6 => found.ipv6(packet),
            _ => None,
        }
        .unwrap_or(found)
    }

    /// The sum of TCP's and UDP's pseudo-header, over a transport header and payload of `len` bytes;
    /// `None` if the addresses are not in `head`.
    pub fn pseudo_header(&self, head: &[u8], l4: L4, len: usize) -> Option<Sum> {
        let packet = head.get(self.l3_at..)?;
        let addresses = match self.l3? {
            L3::Ipv4 => packet.get(ipv4::ADDRESSES),
            L3::Ipv6 => packet.get(ipv6::ADDRESSES),
        }?;
        Some(pseudo_header(addresses, l4.protocol(), u32::try_from(len).ok()?))
    }

    fn ipv4(self, packet: &[u8]) -> Option<Layers> {
        let ip = Ipv4::of(packet)?;
        let found = Layers { l3: Some(L3::Ipv4), fragment: ip.is_fragment(), ..self };
        let len = usize::from(ip.total_len()).checked_sub(ip.header_len());
        Some(found.transport(packet, ip.protocol(), ip.header_len(), len))
    }

    fn ipv6(self, packet: &[u8]) -> Option<Layers> {
        let ip = Ipv6::of(packet)?;
        let found = Layers { l3: Some(L3::Ipv6), ..self };
        let Some(end) = ip.end(packet) else { return Some(found) };
        let extensions = end.at.saturating_sub(ipv6::HEADER);
        let len = usize::from(ip.payload_len()).checked_sub(extensions);
        let found = Layers { fragment: end.fragment, ..found };
        Some(found.transport(packet, end.protocol, end.at, len))
    }

    /// `at` counts from the network header.
    fn transport(self, packet: &[u8], protocol: u8, at: usize, len: Option<usize>) -> Layers {
        let whole = |l4: &L4| {
            let header = packet.get(at..).unwrap_or_default();
            header.len() >= l4.header_len() && len.is_some_and(|len| len >= l4.header_len())
        };
        let l4 = L4::of_protocol(protocol).filter(|l4| !self.fragment && whole(l4));
        let l4_at = self.l3_at.saturating_add(at);
        Layers { l4, l4_at, l4_len: len.unwrap_or_default(), ..self }
    }
}

#[cfg(test)]
#[path = "layers_test.rs"]
mod tests;

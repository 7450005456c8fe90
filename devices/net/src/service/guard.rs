//! Which frames concern the service: those for its addresses, and those that pretend to come from them.
//!
//! What is for it never reaches the host's network, and nobody on that network can speak in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::ethernet::{self, Link};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::{be16, icmpv6};

/// Where the addresses of an ARP packet for IPv4 over Ethernet are (RFC 826).
const ARP_SENDER: std::ops::Range<usize> = 14..18;
const ARP_TARGET: std::ops::Range<usize> = 24..28;
/// Where an IPv4 header's addresses are, whatever else is wrong with it (RFC 791).
const IPV4_SOURCE: std::ops::Range<usize> = 12..16;
const IPV4_DESTINATION: std::ops::Range<usize> = 16..20;
const IPV6_SOURCE: std::ops::Range<usize> = 8..24;
const IPV6_DESTINATION: std::ops::Range<usize> = 24..40;

/// What a frame is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Nothing.
    None,
    /// It asks for one of its addresses by ARP; the packet begins there.
    Arp(usize),
    /// It asks for one of its addresses by neighbour discovery; the packet begins there.
    Solicitation(usize),
    /// It is for the service; the packet begins there.
    Packet(usize),
    /// It is for the service, or pretends to be of it, and is no good.
    Refused,
}

/// The service's addresses, as the wire has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    ipv4: [u8; 4],
    ipv6: [u8; 16],
}

/// Who speaks to whom in a frame, as far as that can concern the service.
struct Parties<'a> {
    from: &'a [u8],
    to: &'a [u8],
    concern: Concern,
}

impl Guard {
    /// Of a service at these addresses.
    pub fn new(ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Guard {
        Guard { ipv4: ipv4.octets(), ipv6: ipv6.octets() }
    }

    /// Both addresses.
    pub fn addresses(&self) -> (Ipv4Addr, Ipv6Addr) {
        (self.ipv4.into(), self.ipv6.into())
    }

    /// What a frame of the guest with this head is to the service.
    #[inline]
    pub fn sent(&self, head: &[u8]) -> Concern {
        let Some(link) = Link::of(head) else { return Concern::None };
        let Some(parties) = parties(head, &link) else {
            // Hosts look through any number of tags (Linux, __netif_receive_skb_core); nobody needs so many.
            return if ethernet::is_tag(link.kind) { Concern::Refused } else { Concern::None };
        };
        match (self.is_own(parties.from), self.is_own(parties.to)) {
            (false, false) => Concern::None,
            (false, true) if link.tags == 0 => parties.concern,
            _ => Concern::Refused,
        }
    }

    /// Whether a frame from the network pretends to be of the service.
    #[inline]
    pub fn is_impostor(&self, head: &[u8]) -> bool {
        let parties = Link::of(head).and_then(|link| parties(head, &link));
        parties.is_some_and(|parties| self.is_own(parties.from))
    }

    #[inline]
    fn is_own(&self, address: &[u8]) -> bool {
        address == self.ipv4 || address == self.ipv6
    }
}

/// `None` if the frame carries nothing that has addresses.
#[inline]
fn parties<'a>(head: &'a [u8], link: &Link) -> Option<Parties<'a>> {
    let at = link.payload_at;
    let packet = head.get(at..)?;
    match link.kind {
        ethernet::IPV4 => Some(Parties {
            from: packet.get(IPV4_SOURCE)?,
            to: packet.get(IPV4_DESTINATION)?,
            concern: Concern::Packet(at),
        }),
        ethernet::IPV6 => {
            let (from, to) = (packet.get(IPV6_SOURCE)?, packet.get(IPV6_DESTINATION)?);
            let usual = Parties { from, to, concern: Concern::Packet(at) };
            Some(discovery(packet, at).unwrap_or(usual))
        }
        ethernet::ARP => Some(Parties {
            from: packet.get(ARP_SENDER)?,
            to: packet.get(ARP_TARGET)?,
            concern: Concern::Arp(at),
        }),
        _ => None,
    }
}

/// Neighbour discovery is about the address that it names, wherever it goes (RFC 4861, 4.3 and 4.4).
fn discovery(packet: &[u8], at: usize) -> Option<Parties<'_>> {
    let end = Ipv6::of(packet)?.end(packet)?;
    if end.protocol != icmpv6::PROTOCOL {
        return None;
    }
    let message = packet.get(end.at..)?;
    let target = message.get(icmpv6::TARGET)?;
    match *message.first()? {
        icmpv6::SOLICITATION if end.at == ipv6::HEADER => {
            let from = packet.get(IPV6_SOURCE)?;
            Some(Parties { from, to: target, concern: Concern::Solicitation(at) })
        }
        icmpv6::SOLICITATION => {
            Some(Parties { from: target, to: target, concern: Concern::Refused })
        }
        icmpv6::ADVERTISEMENT => Some(Parties {
            from: target,
            to: packet.get(IPV6_DESTINATION)?,
            concern: Concern::Refused,
        }),
        _ => None,
    }
}

/// Who sent the packet, and behind which address of the link; `None` if that cannot be answered: it is a
/// piece, has no sender, or one that stands for many.
pub fn sender(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let source = Ipv4Addr::from(*packet.get(IPV4_SOURCE)?.first_chunk::<4>()?);
            // All but the flag that forbids to cut it.
            let whole = be16(packet, 6)? & 0xbfff == 0;
            let many = source.is_multicast() || source.is_broadcast() || source.is_unspecified();
            (whole && !many).then_some(source.into())
        }
        6 => {
            let source = Ipv6Addr::from(*packet.get(IPV6_SOURCE)?.first_chunk::<16>()?);
            let whole = !Ipv6::of(packet)?.end(packet)?.fragment;
            let many = source.is_multicast() || source.is_unspecified();
            (whole && !many).then_some(source.into())
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;

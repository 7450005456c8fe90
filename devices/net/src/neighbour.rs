//! Which addresses a guest has on its link, as its own ARP and neighbour discovery show: so that others can be told
//! where it is when it comes to another place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;
use crate::wire::{arp, be16, ethernet, icmpv6, ipv6, take};

/// Most addresses of one card that are remembered; the one that was seen longest ago is forgotten first.
pub const MOST: usize = 16;
const LAST: usize = MOST - 1;

/// Where an untagged frame's source and its packet are, and in an IPv6 packet without extensions what matters here.
const SOURCE_AT: usize = 6;
const PACKET_AT: usize = ethernet::HEADER;
const PROTOCOL_AT: usize = PACKET_AT + 6;
const IPV6_SOURCE_AT: usize = PACKET_AT + 8;
const MESSAGE_AT: usize = PACKET_AT + ipv6::HEADER;
const TARGET_AT: usize = MESSAGE_AT + icmpv6::TARGET.start;
/// Where an Ethernet header says what follows.
const KIND_AT: usize = 12;

/// An address of a guest, and the Ethernet address that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The card's, or that of one behind it.
    pub mac: MacAddr,
    /// Of the network.
    pub ip: IpAddr,
}

impl Neighbour {
    /// Whether one machine alone can have it.
    pub fn is_possible(&self) -> bool {
        let is_one = match self.ip {
            IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast()),
            IpAddr::V6(ip) => !ip.is_multicast(),
        };
        is_one
            && !self.ip.is_unspecified()
            && !self.ip.is_loopback()
            && self.mac.is_valid_for_a_card()
    }
}

/// Neighbours, the one seen last first.
#[derive(Clone, Debug, Default)]
pub struct Neighbours([Option<Neighbour>; MOST]);

impl Neighbours {
    /// These, of which the first was seen last.
    pub fn of(all: impl IntoIterator<Item = Neighbour>) -> Neighbours {
        let mut neighbours = Neighbours::default();
        let all: Vec<_> = all.into_iter().take(MOST).collect();
        all.into_iter().rev().for_each(|one| neighbours.add(one));
        neighbours
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Neighbour> {
        self.0.iter().flatten().copied()
    }

    /// Looks at a frame that the guest sends.
    #[inline]
    pub fn see(&mut self, head: &[u8]) {
        match be16(head, KIND_AT) {
            Some(ethernet::ARP) => self.see_arp(head),
            Some(ethernet::IPV6) if head.get(PROTOCOL_AT) == Some(&icmpv6::PROTOCOL) => {
                self.see_discovery(head);
            }
            _ => {}
        }
    }

    fn see_arp(&mut self, head: &[u8]) {
        let packet = head.get(PACKET_AT..).unwrap_or_default();
        let sender = take(packet, arp::SENDER_MAC_AT).map(MacAddr);
        let ip = take(packet, arp::SENDER_AT).map(|ip: [u8; 4]| Ipv4Addr::from(ip));
        let is_arp = packet.len() >= arp::LEN && packet.starts_with(&arp::IPV4_OVER_ETHERNET);
        if let (true, Some(mac), Some(ip)) = (is_arp && sender == source(head), sender, ip) {
            self.add(Neighbour { mac, ip: ip.into() });
        }
    }

    /// Who solicits has the address that it sends from, or wants to have the one that it names; who advertises has that
    /// one.
    fn see_discovery(&mut self, head: &[u8]) {
        let address = |at| take(head, at).map(|ip: [u8; 16]| Ipv6Addr::from(ip));
        let from = address(IPV6_SOURCE_AT);
        let target = address(TARGET_AT);
        let ip = match head.get(MESSAGE_AT) {
            Some(&icmpv6::SOLICITATION) if from != Some(Ipv6Addr::UNSPECIFIED) => from,
            Some(&(icmpv6::SOLICITATION | icmpv6::ADVERTISEMENT)) => target,
            _ => None,
        };
        if let (Some(mac), Some(ip)) = (source(head), ip) {
            self.add(Neighbour { mac, ip: ip.into() });
        }
    }

    fn add(&mut self, one: Neighbour) {
        if self.0.first() == Some(&Some(one)) || !one.is_possible() {
            return;
        }
        // Its old place, or that of the oldest.
        let known = self.0.iter().position(|place| *place == Some(one));
        let end = known.unwrap_or(LAST);
        if let Some(moved) = self.0.get_mut(..=end) {
            moved.rotate_right(1);
        }
        if let Some(first) = self.0.first_mut() {
            *first = Some(one);
        }
    }
}

fn source(head: &[u8]) -> Option<MacAddr> {
    take(head, SOURCE_AT).map(MacAddr)
}

#[cfg(test)]
#[path = "neighbour_test.rs"]
mod tests;

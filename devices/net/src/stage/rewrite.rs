//! A guest's addresses made into others on the wire, one for one: so that many machines with the same addresses, as
//! those from one snapshot are, live on one network.
//!
//! ```text
//! guest, inside addresses ── swap ── host's network, outside addresses
//! ```
//! Each place where the guest's own address can be has inside and outside exchanged, source or destination, on both
//! ways: what was swapped twice is what it was. So a guest also reaches who has its inside address on the wire, by the
//! outside one: the machine that the snapshot is of.
//!
//! Swapped are Ethernet addresses, ARP, IPv4, the IPv6 addresses that are made of the Ethernet address (RFC 4291,
//! appendix A) with their groups, neighbour discovery, the packets that ICMP errors carry, and the client's own
//! addresses in the fixed part of DHCP for IPv4. Checksums follow: right ones stay right, wrong ones wrong, and those that are still to be
//! completed so too. All else that a packet may say of addresses stays: options of DHCP, names, payload.
//!
//! It works on a frame's private head; it takes no lock and allocates nothing.

mod addresses;
mod discovery;
mod packet;

use std::net::Ipv4Addr;

use crate::frame::Csum;
use crate::mac::MacAddr;
use crate::wire::arp;
use crate::wire::ethernet::{self, Link};
use addresses::{Addresses, swap};
use packet::Packets;

pub use addresses::Sides;

/// The stage of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    addresses: Addresses,
}

impl Rewrite {
    /// For a card with these addresses; without IPv4 ones, packets of that keep theirs.
    pub fn new(mac: Sides<MacAddr>, ipv4: Option<Sides<Ipv4Addr>>) -> Rewrite {
        Rewrite { addresses: Addresses::new(mac, ipv4) }
    }

    /// Swaps the addresses of a frame with this `head`, of whose transport checksum so much is known.
    #[inline]
    pub fn swap(&self, head: &mut [u8], csum: Csum) {
        let Some(link) = Link::of(head) else { return };
        for at in [0, 6] {
            swap(head, at, |mac| self.addresses.other_mac(mac));
        }
        let seeded = match csum {
            Csum::Needed { start, offset } => {
                usize::from(start).saturating_add(offset.into()).checked_sub(link.payload_at)
            }
            Csum::Unknown | Csum::Valid => None,
        };
        let packet = head.get_mut(link.payload_at..).unwrap_or_default();
        let packets = Packets { addresses: &self.addresses, seeded };
        match link.kind {
            ethernet::IPV4 => packets.ipv4(packet),
            ethernet::IPV6 => packets.ipv6(packet),
            ethernet::ARP => self.arp(packet),
            _ => {}
        }
    }

    fn arp(&self, packet: &mut [u8]) {
        if packet.len() < arp::LEN || !packet.starts_with(&arp::IPV4_OVER_ETHERNET) {
            return;
        }
        for at in [arp::SENDER_MAC_AT, arp::TARGET_MAC_AT] {
            swap(packet, at, |mac| self.addresses.other_mac(mac));
        }
        for at in [arp::SENDER_AT, arp::TARGET_AT] {
            swap(packet, at, |ip| self.addresses.other_ipv4(ip));
        }
    }
}

#[cfg(test)]
#[path = "rewrite_test.rs"]
mod tests;

//! Addresses in IP packets, in what they carry, and in the sums over both.

use super::addresses::{Addresses, swap};
use super::discovery;
use crate::wire::checksum::Change;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::{be16, icmpv6, put_be16, take, tcp, udp};

const IPV4_SOURCE_AT: usize = 12;
const IPV4_DESTINATION_AT: usize = 16;
const IPV4_SUM_AT: usize = 10;
const IPV6_SOURCE_AT: usize = 8;
const IPV6_DESTINATION_AT: usize = 24;
/// Of a fragment: which piece it is, in units of 8 bytes.
const OFFSET: u16 = 0x1fff;
/// Bytes of IPv6's fragment header; its offset is in the upper bits of the second word.
const FRAGMENT: usize = 8;
const FRAGMENT_OFFSET: u16 = 0xfff8;

/// ICMP for IPv4 (RFC 792): its number, and the types that carry the begin of the packet that they are about.
const ICMP: u8 = 1;
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// Where the packet is in an error of either version.
const CARRIED_AT: usize = 8;
/// DCCP (RFC 4340) and UDP-Lite (RFC 3828) have UDP's checksum in its place.
const LIKE_UDP: [u8; 2] = [33, 136];

/// Ports of DHCP (RFC 2131), its begin for Ethernet behind the operation, and where a message has the client's
/// addresses: that it has, that it is to have, and Ethernet's.
const DHCP_PORTS: [u16; 2] = [67, 68];
const DHCP_ETHERNET: [u8; 2] = [1, 6];
const DHCP_CLIENT_AT: usize = 12;
const DHCP_YOURS_AT: usize = 16;
const DHCP_HARDWARE_AT: usize = 28;

/// Which version a packet is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// What carries a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Frame,
    /// An ICMP error: it may be cut off, and what it carries itself is of no matter.
    Error,
}

/// Swaps addresses in the packet of a frame.
pub struct Packets<'a> {
    /// What is swapped.
    pub addresses: &'a Addresses,
    /// Where in the packet is a checksum that holds the sum of the pseudo-header alone, if one does.
    pub seeded: Option<usize>,
}

/// Where the transport is.
struct Transport {
    version: Version,
    carrier: Carrier,
    protocol: u8,
    at: usize,
    /// How the network header's addresses have changed.
    addresses: Change,
}

impl Packets<'_> {
    /// A packet that begins with an IPv4 header.
    pub fn ipv4(&self, packet: &mut [u8]) {
        self.any_ipv4(packet, Carrier::Frame);
    }

    /// A packet that begins with an IPv6 header.
    pub fn ipv6(&self, packet: &mut [u8]) {
        self.any_ipv6(packet, Carrier::Frame);
    }

    /// How the sum of the whole packet has changed.
    fn any_ipv4(&self, packet: &mut [u8], carrier: Carrier) -> Change {
        let Some(ip) = Ipv4::of(packet) else { return Change::default() };
        let (at, protocol) = (ip.header_len(), ip.protocol());
        let end = match usize::from(ip.total_len()) {
            len if len >= at => len.min(packet.len()),
            _ => packet.len(), // of a packet too large to say it
        };
        let is_first = be16(packet, 6).is_none_or(|word| word & OFFSET == 0);
        let swap_one = |packet: &mut [u8], at| swap(packet, at, |ip| self.addresses.other_ipv4(ip));
        let source = swap_one(packet, IPV4_SOURCE_AT);
        let addresses = source.and(swap_one(packet, IPV4_DESTINATION_AT));
        let sum = adjust(packet, IPV4_SUM_AT, |sum| addresses.of_checksum(sum));
        let all = addresses.and(sum);
        let packet = packet.get_mut(..end).unwrap_or_default();
        if !is_first {
            return all;
        }
        let version = Version::V4;
        all.and(self.transport(packet, &Transport { version, carrier, protocol, at, addresses }))
    }

    /// How the sum of the whole packet has changed.
    fn any_ipv6(&self, packet: &mut [u8], carrier: Carrier) -> Change {
        let Some(end) = Ipv6::of(packet).and_then(|ip| ip.end(packet)) else {
            return Change::default();
        };
        let (mut at, mut protocol) = (end.at, end.protocol);
        if end.fragment {
            let offset = be16(packet, at.saturating_add(2)).unwrap_or(FRAGMENT_OFFSET);
            protocol = match packet.get(at) {
                Some(next) if offset & FRAGMENT_OFFSET == 0 => *next,
                _ => NO_NEXT,
            };
            at = at.saturating_add(FRAGMENT);
        }
        // Half done, its sum would be wrong.
        let sum_end = checksum_at(Version::V6, protocol)
            .map(|in_it| at.saturating_add(in_it).saturating_add(2));
        if carrier == Carrier::Frame && sum_end.is_some_and(|end| end > packet.len()) {
            return Change::default();
        }
        let swap_one = |packet: &mut [u8], at| swap(packet, at, |ip| self.addresses.other_ipv6(ip));
        let source = swap_one(packet, IPV6_SOURCE_AT);
        let addresses = source.and(swap_one(packet, IPV6_DESTINATION_AT));
        let version = Version::V6;
        let transport = Transport { version, carrier, protocol, at, addresses };
        addresses.and(self.transport(packet, &transport))
    }

    /// How the sum of transport header and payload has changed.
    fn transport(&self, packet: &mut [u8], transport: &Transport) -> Change {
        let &Transport { version, carrier, protocol, at, addresses } = transport;
        let Some(in_it) = checksum_at(version, protocol) else { return Change::default() };
        let sum_at = at.saturating_add(in_it);
        let payload = packet.get_mut(at..).unwrap_or_default();
        let payload = match (protocol, carrier) {
            (udp::PROTOCOL, _) => self.dhcp(payload),
            (ICMP | icmpv6::PROTOCOL, Carrier::Frame) => self.message(payload, version),
            _ => Change::default(),
        };
        // It has no pseudo-header.
        let header = if protocol == ICMP { Change::default() } else { addresses };
        let seeded = carrier == Carrier::Frame && self.seeded == Some(sum_at);
        payload.and(adjust(packet, sum_at, |sum| match (seeded, protocol) {
            (true, _) => header.of_sum(sum),
            (false, udp::PROTOCOL) if sum == 0 => 0, // there is none
            (false, udp::PROTOCOL) => match header.and(payload).of_checksum(sum) {
                0 => 0xffff,
                sum => sum,
            },
            (false, _) => header.and(payload).of_checksum(sum),
        }))
    }

    /// What an ICMP message of either version says of addresses.
    fn message(&self, message: &mut [u8], version: Version) -> Change {
        let Some(&kind) = message.first() else { return Change::default() };
        let carried = |message: &mut [u8], swap: fn(&Self, &mut [u8], Carrier) -> Change| {
            let carried = message.get_mut(CARRIED_AT..).unwrap_or_default();
            swap(self, carried, Carrier::Error)
        };
        match version {
            Version::V4 if ICMP_ERRORS.contains(&kind) => carried(message, Self::any_ipv4),
            Version::V4 => Change::default(),
            Version::V6 if icmpv6::ERRORS.contains(&kind) => carried(message, Self::any_ipv6),
            Version::V6 => discovery::swap_message(self.addresses, message, kind),
        }
    }

    /// The client's addresses, if it is DHCP.
    fn dhcp(&self, datagram: &mut [u8]) -> Change {
        let is_port = |at| be16(datagram, at).is_some_and(|port| DHCP_PORTS.contains(&port));
        let is_dhcp = is_port(0) || is_port(2);
        let message = datagram.get_mut(udp::HEADER..).unwrap_or_default();
        if !is_dhcp || take(message, 1) != Some(DHCP_ETHERNET) {
            return Change::default();
        }
        let client = swap(message, DHCP_CLIENT_AT, |ip| self.addresses.other_ipv4(ip));
        let yours = swap(message, DHCP_YOURS_AT, |ip| self.addresses.other_ipv4(ip));
        let hardware = swap(message, DHCP_HARDWARE_AT, |mac| self.addresses.other_mac(mac));
        client.and(yours).and(hardware)
    }
}

/// Number of no protocol (RFC 8200, 4.7).
const NO_NEXT: u8 = 59;

/// Where the checksum is behind the begin of the transport header.
fn checksum_at(version: Version, protocol: u8) -> Option<usize> {
    match (version, protocol) {
        (_, tcp::PROTOCOL) => Some(tcp::CHECKSUM_AT),
        (_, udp::PROTOCOL) => Some(udp::CHECKSUM_AT),
        (Version::V4, ICMP) | (Version::V6, icmpv6::PROTOCOL) => Some(icmpv6::CHECKSUM_AT),
        _ if LIKE_UDP.contains(&protocol) => Some(udp::CHECKSUM_AT),
        _ => None,
    }
}

/// Makes the number at `at` another; how that changes sums.
fn adjust(packet: &mut [u8], at: usize, to: impl FnOnce(u16) -> u16) -> Change {
    let mut change = Change::default();
    let Some(old) = be16(packet, at) else { return change };
    let new = to(old);
    put_be16(packet, at, new);
    change.word(old, new);
    change
}

const _: () =
    assert!(ipv4::HEADER == IPV4_DESTINATION_AT + 4 && ipv6::HEADER == IPV6_DESTINATION_AT + 16);

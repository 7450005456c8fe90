//! What tells a network that an address is here now: gratuitous ARP (RFC 5227, 3), and the unsolicited advertisement
//! of IPv6 (RFC 4861, 7.2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mac::MacAddr;
use crate::neighbour::Neighbour;
use crate::wire::checksum::pseudo_header;
use crate::wire::{arp, ethernet, icmpv6};

/// All nodes of the link, by IPv6 and by Ethernet.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
/// What others have of this address is to be replaced.
const OVERRIDE: u8 = 0x20;
/// The option with the target's Ethernet address, of one unit of 8 bytes.
const TARGET_OPTION: [u8; 2] = [2, 1];
/// Only who is on the link sends with it.
const HOP_LIMIT: u8 = 255;

/// The frame that says so, to all on the link.
pub fn frame(of: &Neighbour) -> Vec<u8> {
    match of.ip {
        IpAddr::V4(ip) => gratuitous_arp(of.mac, ip),
        IpAddr::V6(ip) => advertisement(of.mac, ip),
    }
}

fn ethernet(to: MacAddr, from: MacAddr, kind: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &kind.to_be_bytes()].concat()
}

/// A request for the own address, which all read and nobody answers.
fn gratuitous_arp(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(MacAddr::BROADCAST, mac, ethernet::ARP);
    frame.extend(arp::IPV4_OVER_ETHERNET);
    frame.extend(arp::REQUEST.to_be_bytes());
    frame.extend([&mac.0[..], &ip.octets(), &[0; 6], &ip.octets()].concat());
    frame
}

fn advertisement(mac: MacAddr, ip: Ipv6Addr) -> Vec<u8> {
    let message = |sum: u16| {
        let mut message = vec![icmpv6::ADVERTISEMENT, 0];
        message.extend(sum.to_be_bytes());
        message.extend([OVERRIDE, 0, 0, 0]);
        message.extend([&ip.octets()[..], &TARGET_OPTION, &mac.0].concat());
        message
    };
    let addresses = [ip.octets(), ALL_NODES.octets()].concat();
    let len = message(0).len() as u16; // 32
    let mut sum = pseudo_header(&addresses, icmpv6::PROTOCOL, len.into());
    sum.add(&message(0));
    let mut frame = ethernet(ALL_NODES_MAC, mac, ethernet::IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([icmpv6::PROTOCOL, HOP_LIMIT]);
    frame.extend(addresses);
    frame.extend(message(sum.checksum()));
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    #[test]
    fn ipv4_is_announced_by_a_request_for_oneself() {
        let frame = frame(&Neighbour { mac: MAC, ip: "10.0.0.7".parse().unwrap() });
        let parsed = PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let Some(NetHeaders::Arp(arp)) = parsed.net else { panic!("{frame:02x?}") };
        assert_eq!((arp.operation.0, arp.sender_hw_addr()), (1, &MAC.0[..]));
        assert_eq!(
            (arp.sender_protocol_addr(), arp.target_protocol_addr()),
            (&[10, 0, 0, 7][..], &[10, 0, 0, 7][..])
        );
        assert_eq!((&frame[..6], &frame[6..12]), (&[0xff; 6][..], &MAC.0[..]));
    }

    #[test]
    fn ipv6_is_announced_by_an_advertisement_that_nobody_asked_for() {
        let ip: Ipv6Addr = "fe80::ff:fe00:7".parse().unwrap();
        let frame = frame(&Neighbour { mac: MAC, ip: ip.into() });
        let parsed = PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let Some(NetHeaders::Ipv6(header, _)) = parsed.net else { panic!("{frame:02x?}") };
        assert_eq!((header.source, header.destination), (ip.octets(), ALL_NODES.octets()));
        assert_eq!((header.hop_limit, header.payload_length), (255, 32));
        let Some(TransportHeader::Icmpv6(icmp)) = parsed.transport else { panic!("{frame:02x?}") };
        let payload = &frame[62..];
        let sum = icmp.icmp_type.calc_checksum(header.source, header.destination, payload);
        assert_eq!(Ok(icmp.checksum), sum.map_err(|_| ()));
        assert_eq!(frame[54..62], [136, 0, frame[56], frame[57], 0x20, 0, 0, 0]);
        assert_eq!(payload, [&ip.octets()[..], &[2, 1], &MAC.0].concat());
    }
}

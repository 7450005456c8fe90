//! Tests of which frames are the service's: those for it, and those in its place.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use super::*;
use crate::service::metadata::{IPV4_ADDRESS, IPV6_ADDRESS};
use crate::service::testing::{Client, GUEST_IPV4};
use crate::wire::testing::{Build, frame};

fn guard() -> Guard {
    Guard::new(IPV4_ADDRESS, IPV6_ADDRESS)
}

fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([2, 0, 0, 0, 0, 7]);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// A frame with this tag of 802.1Q put into it.
fn tagged(mut frame: Vec<u8>, tag: u16) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, (tag >> 8) as u8, tag as u8]);
    frame
}

fn udp(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 1]);
    link.ipv4(from.octets(), to.octets(), 64).udp(53, 53).write(&mut frame, &[]).unwrap();
    frame
}

/// ICMPv6 of a type about a target, with extension headers before it.
fn discovery(kind: u8, from: [u8; 16], to: [u8; 16], target: [u8; 16], extended: bool) -> Vec<u8> {
    let mut frame = [[0x33; 6], [2, 0, 0, 0, 0, 7]].concat();
    let next = if extended { 60 } else { 58 };
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, next, 255]);
    frame.extend(from);
    frame.extend(to);
    if extended {
        frame.extend([58, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(target);
    frame
}

const OTHER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

#[test]
fn packets_for_either_address_are_the_services_whatever_they_carry() {
    let mut client = Client::new(1);
    assert_eq!(guard().sent(&client.syn()), Concern::Packet(14));
    client.v6 = true;
    assert_eq!(guard().sent(&client.syn()), Concern::Packet(14));
    assert_eq!(guard().sent(&udp(GUEST_IPV4, IPV4_ADDRESS)), Concern::Packet(14));
}

#[test]
fn all_other_frames_pass() {
    let others = [
        frame(&Build::default()),
        frame(&Build { v6: true, ..Build::default() }),
        frame(&Build { tags: 2, ..Build::default() }),
        arp(1, GUEST_IPV4, Ipv4Addr::new(192, 0, 2, 1)),
        discovery(135, OTHER, OTHER, OTHER, false),
        vec![0; 60],
        vec![0; 3],
        Vec::new(),
    ];
    for other in &others {
        assert_eq!(guard().sent(other), Concern::None, "{other:?}");
        assert!(!guard().is_impostor(other));
    }
    // Cut off before it is said whom it is for.
    let packet = udp(GUEST_IPV4, IPV4_ADDRESS);
    for len in 0..34 {
        assert_eq!(guard().sent(&packet[..len]), Concern::None);
    }
}

#[test]
fn who_asks_for_an_address_is_told_by_nobody_else() {
    let asked = arp(1, GUEST_IPV4, IPV4_ADDRESS);
    assert_eq!(guard().sent(&asked), Concern::Arp(14));
    // Wherever it is sent.
    let own = IPV6_ADDRESS.octets();
    for to in [OTHER, own] {
        let asked = discovery(135, OTHER, to, own, false);
        assert_eq!(guard().sent(&asked), Concern::Solicitation(14));
    }
    assert_eq!(guard().sent(&discovery(135, OTHER, OTHER, own, true)), Concern::Refused);
}

#[test]
fn tags_are_no_way_around() {
    let packet = udp(GUEST_IPV4, IPV4_ADDRESS);
    let once = tagged(packet, 0);
    let twice = tagged(once.clone(), 5);
    let often = tagged(twice.clone(), 0);
    for frame in [once, twice, often, tagged(arp(1, GUEST_IPV4, IPV4_ADDRESS), 0)] {
        assert_eq!(guard().sent(&frame), Concern::Refused);
    }
}

#[test]
fn nobody_speaks_in_the_services_place() {
    let own = IPV6_ADDRESS.octets();
    let impostors = [
        arp(2, IPV4_ADDRESS, GUEST_IPV4),
        arp(1, IPV4_ADDRESS, IPV4_ADDRESS),
        udp(IPV4_ADDRESS, GUEST_IPV4),
        tagged(udp(IPV4_ADDRESS, GUEST_IPV4), 0),
        discovery(136, OTHER, OTHER, own, false),
        discovery(136, OTHER, OTHER, own, true),
        discovery(0, own, OTHER, OTHER, false),
    ];
    for impostor in &impostors {
        assert!(guard().is_impostor(impostor), "{impostor:?}");
        assert_eq!(guard().sent(impostor), Concern::Refused, "{impostor:?}");
    }
    assert!(!guard().is_impostor(&udp(GUEST_IPV4, IPV4_ADDRESS)));
}

#[test]
fn only_who_is_one_and_says_all_is_answered() {
    let good = udp(GUEST_IPV4, IPV4_ADDRESS);
    assert_eq!(sender(&good[14..]), Some(GUEST_IPV4.into()));
    let many = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)];
    for many in many {
        assert_eq!(sender(&udp(many, IPV4_ADDRESS)[14..]), None);
    }
    let piece = frame(&Build { fragment: true, ..Build::default() });
    assert_eq!(sender(&piece[14..]), None);
    assert_eq!(sender(&discovery(128, [0; 16], OTHER, OTHER, false)[14..]), None);
    assert_eq!(
        sender(&discovery(128, OTHER, OTHER, OTHER, true)[14..]),
        Some(Ipv6Addr::from(OTHER).into())
    );
    assert_eq!(sender(&[]), None);
    assert_eq!(sender(&[0x45; 10]), None);
}

//! Seeds of the exchange of addresses: frames of each kind that has some.

use fuzz::input::Output;
use fuzz::rewrite::{IP, MAC, frame};

use crate::Seed;

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PEER_IP: [u8; 4] = [192, 168, 77, 254];

fn of(needed: Option<(u16, u16)>, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Output::default();
    frame(&mut out, needed, &parts.concat());
    out.0
}

/// An IPv4 header without options, and Ethernet before it; sums are as they come.
fn ipv4(protocol: u8) -> Vec<u8> {
    let header = [0x45, 0, 0, 80, 0, 1, 0, 0, 64, protocol, 0x12, 0x34];
    [&PEER[..], &MAC, &[8, 0], &header, &IP, &PEER_IP].concat()
}

fn ipv6(next: u8) -> Vec<u8> {
    let [a, b, c, d, e, f] = MAC;
    let own = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, d, e, f];
    let ethernet = [&[0x33, 0x33, 0xff, d, e, f][..], &MAC, &[0x86, 0xdd]].concat();
    [&ethernet[..], &[0x60, 0, 0, 0, 0, 40, next, 255], &own, &group].concat()
}

pub fn all() -> Vec<Seed> {
    let arp = [&PEER[..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &IP, &[0; 6], &PEER_IP];
    let tagged = [&PEER[..], &MAC, &[0x81, 0, 0, 5, 8, 0], &ipv4(6)[14..], &[1; 20]].concat();
    let target = &ipv6(58)[22..38];
    let bootp = [&[0, 68, 0, 67, 0, 60, 1, 1, 1, 1, 6, 0][..], &[0; 8], &IP, &IP, &[0; 8], &MAC];
    vec![
        ("arp", of(None, &arp)),
        ("tcp", of(None, &[&ipv4(6), &[1; 20]])),
        ("tcp-seeded", of(Some((34, 16)), &[&ipv4(6), &[1; 20]])),
        ("tagged", of(Some((38, 16)), &[&tagged])),
        ("udp", of(None, &[&ipv4(17), &[1; 8]])),
        ("dhcp", of(None, &[&ipv4(17), &bootp.concat()])),
        ("error", of(None, &[&ipv4(1), &[3, 1, 0, 7, 0, 0, 0, 0], &ipv4(17)[14..], &[1; 8]])),
        ("tcp-ipv6", of(Some((54, 16)), &[&ipv6(6), &[1; 20]])),
        ("hop-by-hop", of(None, &[&ipv6(0), &[17, 0, 1, 4, 0, 0, 0, 0], &[1; 8]])),
        ("fragment", of(None, &[&ipv6(44), &[17, 0, 0, 1, 0, 0, 0, 9], &[1; 8]])),
        ("solicits", of(None, &[&ipv6(58), &[135, 0, 9, 9, 0, 0, 0, 0], target, &[1, 1], &MAC])),
        (
            "listens",
            of(None, &[&ipv6(58), &[143, 0, 9, 9, 0, 0, 0, 1], &[4, 0, 0, 0], &ipv6(58)[38..54]]),
        ),
    ]
}

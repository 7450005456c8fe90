//! The addresses that are exchanged, as the wire has them, and exchanging one in place.

use std::net::Ipv4Addr;

use crate::mac::MacAddr;
use crate::wire::checksum::Change;
use crate::wire::{put, take};

/// The first bytes of the Ethernet address of a solicited-node group (RFC 2464, 7), and of the group's own (RFC
/// 4291, 2.7.1); the last three of any address with that group follow.
const GROUP_MAC: [u8; 3] = [0x33, 0x33, 0xff];
const GROUP: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];

/// An address as the guest has it, and as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides<T> {
    /// The guest's.
    pub inside: T,
    /// The wire's.
    pub outside: T,
}

/// Each address, inside and outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    mac: Sides<[u8; 6]>,
    /// The last three bytes of `mac`.
    group: Sides<[u8; 3]>,
    /// The lower half of IPv6 addresses that are made of `mac`.
    interface: Sides<[u8; 8]>,
    ipv4: Option<Sides<[u8; 4]>>,
}

impl<T: Copy> Sides<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Sides<U> {
        Sides { inside: f(self.inside), outside: f(self.outside) }
    }
}

impl<T: Copy + PartialEq> Sides<T> {
    /// The other side's, if it is one side's.
    #[inline]
    fn other(&self, one: T) -> Option<T> {
        if one == self.inside {
            Some(self.outside)
        } else if one == self.outside {
            Some(self.inside)
        } else {
            None
        }
    }
}

/// The lower half of an IPv6 address that is made of an Ethernet one (RFC 4291, appendix A).
fn interface(mac: MacAddr) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

impl Addresses {
    /// Those of a card.
    pub fn new(mac: Sides<MacAddr>, ipv4: Option<Sides<Ipv4Addr>>) -> Addresses {
        Addresses {
            mac: mac.map(|mac| mac.0),
            group: mac.map(|MacAddr([_, _, _, d, e, f])| [d, e, f]),
            interface: mac.map(interface),
            ipv4: ipv4.map(|ipv4| ipv4.map(|ip| ip.octets())),
        }
    }

    /// What becomes of an Ethernet address.
    #[inline]
    pub fn other_mac(&self, mac: [u8; 6]) -> Option<[u8; 6]> {
        let [a, b, c, d, e, f] = mac;
        if [a, b, c] == GROUP_MAC {
            let [d, e, f] = self.group.other([d, e, f])?;
            return Some([a, b, c, d, e, f]);
        }
        self.mac.other(mac)
    }

    /// What becomes of an IPv4 address.
    #[inline]
    pub fn other_ipv4(&self, ip: [u8; 4]) -> Option<[u8; 4]> {
        self.ipv4.as_ref()?.other(ip)
    }

    /// What becomes of an IPv6 address.
    #[inline]
    pub fn other_ipv6(&self, ip: [u8; 16]) -> Option<[u8; 16]> {
        let mut other = ip;
        if ip.starts_with(&GROUP) {
            let last = other.last_chunk_mut::<3>()?;
            *last = self.group.other(*last)?;
        } else {
            let last = other.last_chunk_mut::<8>()?;
            *last = self.interface.other(*last)?;
        }
        Some(other)
    }
}

/// Puts in the place of the address at `at` what `other` makes of it, if anything; how that changes sums of words
/// that begin at an even byte.
#[inline]
pub fn swap<const N: usize>(
    bytes: &mut [u8],
    at: usize,
    other: impl Fn([u8; N]) -> Option<[u8; N]>,
) -> Change {
    let mut change = Change::default();
    let Some(old) = take::<N>(bytes, at) else { return change };
    let Some(new) = other(old) else { return change };
    let words = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
    words.for_each(|(old, new)| change.word(u16::from_be_bytes(*old), u16::from_be_bytes(*new)));
    put(bytes, at, new);
    change
}

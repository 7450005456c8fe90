//! Addresses in the messages by which IPv6 neighbours, routers and listeners find each other (RFC 4861, 2710, 9777).

use super::addresses::{Addresses, swap};
use crate::wire::checksum::Change;
use crate::wire::{be16, icmpv6};

/// Options that say an Ethernet address, the source's and the target's, and how they begin behind their kind: one
/// unit of 8 bytes.
const LINK_LAYER: [u8; 2] = [1, 2];
const UNIT: usize = 8;
/// Where the first record of a report of memberships is, the bytes of one without sources, and where the group is.
const RECORDS_AT: usize = 8;
const RECORD: usize = 20;
const GROUP_AT: usize = 4;
const ADDRESS: usize = 16;

/// Swaps what an ICMPv6 message of this `kind` says of addresses; how that changes its sum.
pub fn swap_message(addresses: &Addresses, message: &mut [u8], kind: u8) -> Change {
    let (places, options_at): (&[usize], _) = match kind {
        icmpv6::ROUTER_SOLICITATION => (&[], 8),
        icmpv6::ROUTER_ADVERTISEMENT => (&[], 16),
        icmpv6::SOLICITATION | icmpv6::ADVERTISEMENT => (&[8], 24),
        icmpv6::REDIRECT => (&[8, 24], 40),
        icmpv6::MEMBERSHIPS => return records(addresses, message),
        _ if icmpv6::MEMBERSHIP.contains(&kind) => (&[8], usize::MAX),
        _ => return Change::default(),
    };
    let places = places.iter().map(|at| swap(message, *at, |ip| addresses.other_ipv6(ip)));
    let change = places.fold(Change::default(), Change::and);
    change.and(options(addresses, message, options_at))
}

fn options(addresses: &Addresses, message: &mut [u8], from: usize) -> Change {
    let mut change = Change::default();
    let mut at = from;
    while let Some(&[kind, units]) = message.get(at..).and_then(|rest| rest.first_chunk()) {
        if LINK_LAYER.contains(&kind) && units == 1 {
            let mac_at = at.saturating_add(2);
            change = change.and(swap(message, mac_at, |mac| addresses.other_mac(mac)));
        }
        if units == 0 {
            break; // no option, and the message is to be thrown away
        }
        at = at.saturating_add(usize::from(units).saturating_mul(UNIT));
    }
    change
}

/// As far as they are there.
fn records(addresses: &Addresses, message: &mut [u8]) -> Change {
    let mut change = Change::default();
    let mut at = RECORDS_AT;
    while let Some(sources) = be16(message, at.saturating_add(2)) {
        let auxiliary = message.get(at.saturating_add(1)).copied().unwrap_or_default();
        let group_at = at.saturating_add(GROUP_AT);
        change = change.and(swap(message, group_at, |ip| addresses.other_ipv6(ip)));
        let more = usize::from(sources).saturating_mul(ADDRESS);
        let more = more.saturating_add(usize::from(auxiliary).saturating_mul(4));
        at = at.saturating_add(RECORD).saturating_add(more);
    }
    change
}

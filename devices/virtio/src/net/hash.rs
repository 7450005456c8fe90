//! Receive-side scaling and hash reports as a driver says and reads them (virtio 1.2, 5.1.6.4.3 and
//! 5.1.6.5.6 to 5.1.6.5.7).
//!
//! What follows a key is ignored: some Linux drivers send a byte of padding there.
//!
//! Hash types that look into IPv6 extension headers are not offered: such packets are hashed by
//! their fixed header, as the specification has it without those types.

use net::frame::FlowHash;
use net::rss::toeplitz::KEY_LEN;
use net::rss::{Fields, Key, Protocol, Rss, Selection, Table};
use virtio_bindings::virtio_net::*;

use super::refused::{BAD_LENGTH, BAD_VALUE, Refused};

/// Entries of a table: as many as drivers have room for; older ones do not check.
const MAX_TABLE: u16 = 128;
const TYPES: u32 = VIRTIO_NET_RSS_HASH_TYPE_IPv4
    | VIRTIO_NET_RSS_HASH_TYPE_TCPv4
    | VIRTIO_NET_RSS_HASH_TYPE_UDPv4
    | VIRTIO_NET_RSS_HASH_TYPE_IPv6
    | VIRTIO_NET_RSS_HASH_TYPE_TCPv6
    | VIRTIO_NET_RSS_HASH_TYPE_UDPv6;

/// Largest configuration: types, mask, unclassified queue, table, pairs, key length and key.
pub const MAX_CONFIG: usize = 4 + 2 + 2 + 2 * MAX_TABLE as usize + 2 + 1 + KEY_LEN;

/// In the configuration space: longest key, largest table, hash types.
pub const LIMITS: [u8; 7] = {
    let [table0, table1] = MAX_TABLE.to_le_bytes();
    let [types0, types1, types2, types3] = TYPES.to_le_bytes();
    [KEY_LEN as u8, table0, table1, types0, types1, types2, types3]
};

/// What a driver sets with RSS_CONFIG for a card of `lanes` pairs, and how many pairs it uses.
pub fn rss_config(bytes: &[u8], lanes: u16) -> Result<(Rss, u16), Refused> {
    let mut rest = Reader(bytes);
    let fields = selection(rest.u32()?)?;
    let mask = rest.u16()?;
    let unclassified = rest.u16()?;
    if mask >= MAX_TABLE {
        return Err(BAD_VALUE);
    }
    let entries = (0..=mask).map(|_| rest.u16()).collect::<Result<Vec<_>, _>>()?;
    let pairs = rest.u16()?;
    let key = rest.key()?;
    if !(1..=lanes).contains(&pairs) {
        return Err(BAD_VALUE);
    }
    let table = Table::with_unhashed(entries, unclassified, lanes).map_err(|_| BAD_VALUE)?;
    Ok((Rss { key, initial: 0, fields, table }, pairs))
}

/// What a driver sets with HASH_CONFIG. The table that comes with it is not used.
pub fn hash_config(bytes: &[u8]) -> Result<Rss, Refused> {
    let mut rest = Reader(bytes);
    let fields = selection(rest.u32()?)?;
    // Reserved; Linux leaves a mask, a queue, an entry and a number of pairs here.
    for _ in 0..4 {
        rest.u16()?;
    }
    let key = rest.key()?;
    let table = Table::new(vec![0], 1).map_err(|_| BAD_VALUE)?;
    Ok(Rss { key, initial: 0, fields, table })
}

/// What is hashed: ports where their type is set, else addresses where that type is set, else
/// nothing.
fn selection(types: u32) -> Result<Selection, Refused> {
    if types & !TYPES != 0 {
        return Err(BAD_VALUE);
    }
    let mut selection = Selection::NONE;
    for protocol in Protocol::ALL {
        let (ports, addresses) = match protocol {
            Protocol::Tcp4 => (VIRTIO_NET_RSS_HASH_TYPE_TCPv4, VIRTIO_NET_RSS_HASH_TYPE_IPv4),
            Protocol::Udp4 => (VIRTIO_NET_RSS_HASH_TYPE_UDPv4, VIRTIO_NET_RSS_HASH_TYPE_IPv4),
            Protocol::Ip4 | Protocol::Ip4Fragment => (0, VIRTIO_NET_RSS_HASH_TYPE_IPv4),
            Protocol::Tcp6 | Protocol::Tcp6Extended => {
                (VIRTIO_NET_RSS_HASH_TYPE_TCPv6, VIRTIO_NET_RSS_HASH_TYPE_IPv6)
            }
            Protocol::Udp6 | Protocol::Udp6Extended => {
                (VIRTIO_NET_RSS_HASH_TYPE_UDPv6, VIRTIO_NET_RSS_HASH_TYPE_IPv6)
            }
            Protocol::Ip6 | Protocol::Ip6Extended => (0, VIRTIO_NET_RSS_HASH_TYPE_IPv6),
            Protocol::NotIp => continue,
        };
        let fields = match (types & ports != 0, types & addresses != 0) {
            (true, _) => Fields::ADDRESSES | Fields::PORTS,
            (false, true) => Fields::ADDRESSES,
            (false, false) => Fields::empty(),
        };
        selection.set(protocol, fields);
    }
    Ok(selection)
}

/// What follows the common header of a received frame: the hash, its type, and padding.
pub fn report(hash: Option<FlowHash>) -> [u8; 8] {
    let Some(hash) = hash else { return [0; 8] };
    let kind = match hash.protocol {
        Protocol::Tcp4 => VIRTIO_NET_HASH_REPORT_TCPv4,
        Protocol::Udp4 => VIRTIO_NET_HASH_REPORT_UDPv4,
        Protocol::Ip4 | Protocol::Ip4Fragment => VIRTIO_NET_HASH_REPORT_IPv4,
        Protocol::Tcp6 | Protocol::Tcp6Extended => VIRTIO_NET_HASH_REPORT_TCPv6,
        Protocol::Udp6 | Protocol::Udp6Extended => VIRTIO_NET_HASH_REPORT_UDPv6,
        Protocol::Ip6 | Protocol::Ip6Extended => VIRTIO_NET_HASH_REPORT_IPv6,
        Protocol::NotIp => VIRTIO_NET_HASH_REPORT_NONE,
    };
    let [v0, v1, v2, v3] = hash.value.to_le_bytes();
    let [k0, k1, ..] = kind.to_le_bytes();
    [v0, v1, v2, v3, k0, k1, 0, 0]
}

/// A private copy of a command, read from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(BAD_LENGTH)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        self.take().map(u32::from_le_bytes)
    }

    /// A length and as many bytes; a shorter key ends in zeros.
    fn key(&mut self) -> Result<Key, Refused> {
        let [len] = self.take()?;
        let mut key = Key([0; KEY_LEN]);
        let room = key.0.get_mut(..usize::from(len)).ok_or(BAD_VALUE)?;
        let (bytes, rest) = self.0.split_at_checked(room.len()).ok_or(BAD_LENGTH)?;
        room.copy_from_slice(bytes);
        self.0 = rest;
        Ok(key)
    }
}

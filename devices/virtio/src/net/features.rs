//! Feature bits of a network card, and what they mean for frames.

use net::backend::vnet_hdr;
use net::frame::Offloads;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

const fn bit(number: u32) -> u64 {
    1 << number
}

pub const MTU: u64 = bit(VIRTIO_NET_F_MTU);
pub const MRG_RXBUF: u64 = bit(VIRTIO_NET_F_MRG_RXBUF);
pub const MQ: u64 = bit(VIRTIO_NET_F_MQ);
pub const CTRL_VQ: u64 = bit(VIRTIO_NET_F_CTRL_VQ);
pub const CTRL_RX: u64 = bit(VIRTIO_NET_F_CTRL_RX);
pub const CTRL_RX_EXTRA: u64 = bit(VIRTIO_NET_F_CTRL_RX_EXTRA);
pub const CTRL_MAC_ADDR: u64 = bit(VIRTIO_NET_F_CTRL_MAC_ADDR);
pub const RSS: u64 = bit(VIRTIO_NET_F_RSS);
pub const HASH_REPORT: u64 = bit(VIRTIO_NET_F_HASH_REPORT);
pub const GUEST_ANNOUNCE: u64 = bit(VIRTIO_NET_F_GUEST_ANNOUNCE);
pub const CTRL_GUEST_OFFLOADS: u64 = bit(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

/// Offered whatever the backend can do.
pub const ALWAYS: u64 = bit(VIRTIO_NET_F_MAC)
    | bit(VIRTIO_NET_F_STATUS)
    | bit(VIRTIO_NET_F_SPEED_DUPLEX)
    | MRG_RXBUF
    | CTRL_VQ
    | CTRL_RX
    | CTRL_RX_EXTRA
    | CTRL_MAC_ADDR
    | GUEST_ANNOUNCE;

/// What of these takes somebody who looks at each frame.
pub const BY_LANES: u64 = CTRL_RX | CTRL_RX_EXTRA;

/// Offloads of frames from the driver, by feature.
const HOST: &[(u32, Offloads)] = &[
    (VIRTIO_NET_F_CSUM, Offloads::CSUM),
    (VIRTIO_NET_F_HOST_TSO4, Offloads::TSO4),
    (VIRTIO_NET_F_HOST_TSO6, Offloads::TSO6),
    (VIRTIO_NET_F_HOST_ECN, Offloads::ECN),
    (VIRTIO_NET_F_HOST_USO, Offloads::USO4.union(Offloads::USO6)),
];

/// Offloads of frames to the driver, by feature; the same bits in CTRL_GUEST_OFFLOADS.
const GUEST: &[(u32, Offloads)] = &[
    (VIRTIO_NET_F_GUEST_CSUM, Offloads::CSUM),
    (VIRTIO_NET_F_GUEST_TSO4, Offloads::TSO4),
    (VIRTIO_NET_F_GUEST_TSO6, Offloads::TSO6),
    (VIRTIO_NET_F_GUEST_ECN, Offloads::ECN),
    (VIRTIO_NET_F_GUEST_USO4, Offloads::USO4),
    (VIRTIO_NET_F_GUEST_USO6, Offloads::USO6),
];

/// Features that offer the offloads `tx` and `rx` of a backend.
pub fn offering(tx: Offloads, rx: Offloads) -> u64 {
    let of = |table: &[(u32, Offloads)], can: Offloads| {
        let able = table.iter().filter(|(_, needs)| can.contains(*needs));
        able.fold(0, |features, (number, _)| features | bit(*number))
    };
    let guest = of(GUEST, rx);
    of(HOST, tx) | guest | if guest == 0 { 0 } else { CTRL_GUEST_OFFLOADS }
}

/// What the driver may leave to the device in frames it sends.
pub fn host_offloads(features: u64) -> Offloads {
    negotiated(HOST, features)
}

/// What the driver takes in frames it receives.
pub fn guest_offloads(features: u64) -> Offloads {
    negotiated(GUEST, features)
}

/// The bits of CTRL_GUEST_OFFLOADS that mean these.
pub fn guest_features(offloads: Offloads) -> u64 {
    let meant = GUEST.iter().filter(|(_, one)| offloads.contains(*one));
    meant.fold(0, |bits, (number, _)| bits | bit(*number))
}

/// All bits that CTRL_GUEST_OFFLOADS may set.
pub fn guest_bits() -> u64 {
    GUEST.iter().fold(0, |bits, (number, _)| bits | bit(*number))
}

/// Bytes before each frame: with HASH_REPORT the hash and its type follow the common header
/// (virtio 1.2, 5.1.6).
pub fn header_len(features: u64) -> usize {
    if features & HASH_REPORT != 0 { vnet_hdr::LEN + 8 } else { vnet_hdr::LEN }
}

/// The names of negotiated features, those of transport and rings too; a number for one without.
pub fn names(features: u64) -> Vec<String> {
    const NAMES: [(u64, &str); 28] = [
        (bit(VIRTIO_NET_F_CSUM), "CSUM"),
        (bit(VIRTIO_NET_F_GUEST_CSUM), "GUEST_CSUM"),
        (CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS"),
        (MTU, "MTU"),
        (bit(VIRTIO_NET_F_MAC), "MAC"),
        (bit(VIRTIO_NET_F_GUEST_TSO4), "GUEST_TSO4"),
        (bit(VIRTIO_NET_F_GUEST_TSO6), "GUEST_TSO6"),
        (bit(VIRTIO_NET_F_GUEST_ECN), "GUEST_ECN"),
        (bit(VIRTIO_NET_F_HOST_TSO4), "HOST_TSO4"),
        (bit(VIRTIO_NET_F_HOST_TSO6), "HOST_TSO6"),
        (bit(VIRTIO_NET_F_HOST_ECN), "HOST_ECN"),
        (MRG_RXBUF, "MRG_RXBUF"),
        (bit(VIRTIO_NET_F_STATUS), "STATUS"),
        (CTRL_VQ, "CTRL_VQ"),
        (CTRL_RX, "CTRL_RX"),
        (CTRL_RX_EXTRA, "CTRL_RX_EXTRA"),
        (GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
        (MQ, "MQ"),
        (CTRL_MAC_ADDR, "CTRL_MAC_ADDR"),
        (bit(VIRTIO_RING_F_INDIRECT_DESC), "INDIRECT_DESC"),
        (bit(VIRTIO_RING_F_EVENT_IDX), "EVENT_IDX"),
        (bit(VIRTIO_F_VERSION_1), "VERSION_1"),
        (bit(VIRTIO_NET_F_GUEST_USO4), "GUEST_USO4"),
        (bit(VIRTIO_NET_F_GUEST_USO6), "GUEST_USO6"),
        (bit(VIRTIO_NET_F_HOST_USO), "HOST_USO"),
        (HASH_REPORT, "HASH_REPORT"),
        (RSS, "RSS"),
        (bit(VIRTIO_NET_F_SPEED_DUPLEX), "SPEED_DUPLEX"),
    ];
    let known = |bit: u64| NAMES.iter().find(|(feature, _)| *feature == bit);
    let bits = (0..u64::BITS).map(|number| (number, 1u64 << number));
    bits.filter(|(_, bit)| features & bit != 0)
        .map(|(number, bit)| {
            known(bit).map_or(format!("bit {number}"), |(_, name)| name.to_string())
        })
        .collect()
}

fn negotiated(table: &[(u32, Offloads)], features: u64) -> Offloads {
    let has = table.iter().filter(|(number, _)| features & bit(*number) != 0);
    has.fold(Offloads::empty(), |all, (_, one)| all | *one)
}

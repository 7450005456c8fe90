//! Feature bits of a disk (virtio 1.2, 5.2.3) and which of them it offers.

use block::image::Facts;
use block::spec::Cache;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

/// Without it drivers take a request to have a single piece of data.
pub(super) const SEG_MAX: u64 = 1 << VIRTIO_BLK_F_SEG_MAX;
/// It is never written.
pub(super) const RO: u64 = 1 << VIRTIO_BLK_F_RO;
/// It says how large a logical block is.
pub(super) const BLK_SIZE: u64 = 1 << VIRTIO_BLK_F_BLK_SIZE;
/// It has a cache that the driver is to flush.
pub(super) const FLUSH: u64 = 1 << VIRTIO_BLK_F_FLUSH;
/// It says how large a physical block is.
pub(super) const TOPOLOGY: u64 = 1 << VIRTIO_BLK_F_TOPOLOGY;
/// The driver may turn the cache off and on.
pub(super) const CONFIG_WCE: u64 = 1 << VIRTIO_BLK_F_CONFIG_WCE;
/// It has several queues.
pub(super) const MQ: u64 = 1 << VIRTIO_BLK_F_MQ;
/// Ranges can be discarded.
pub(super) const DISCARD: u64 = 1 << VIRTIO_BLK_F_DISCARD;
/// Ranges can be zeroed without data.
pub(super) const WRITE_ZEROES: u64 = 1 << VIRTIO_BLK_F_WRITE_ZEROES;

/// What a disk with these facts offers.
///
/// Where every completed write is durable, or nothing is, there is no cache to speak of.
pub(super) fn offered(facts: &Facts, cache: Cache, queues: u16) -> u64 {
    let mut features = SEG_MAX | BLK_SIZE | TOPOLOGY;
    features |= if facts.read_only { RO } else { DISCARD | WRITE_ZEROES };
    if cache == Cache::Writeback {
        features |= FLUSH | CONFIG_WCE;
    }
    if queues > 1 {
        features |= MQ;
    }
    features
}

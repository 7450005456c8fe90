//! The configuration as the driver reads it (virtio 1.2, 5.2.4), little-endian.

use block::image::Facts;
use block::request::SECTOR;
use device_core::fields::PutLe;

use super::features;
use super::grammar::MAX_RANGES;

/// Largest size of a queue.
pub(super) const QUEUE_SIZE: u16 = 256;
/// Pieces of data in one request: what a queue of the largest size can hold besides header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Sectors of one discarded or zeroed range: 2 GiB, so that one that the host does slowly is cut.
const MAX_RANGE_SECTORS: u32 = 1 << 22;
/// Offset of the only field that a driver may write: whether the cache is on.
pub(super) const WRITEBACK_AT: u64 = 32;

/// Bytes up to and with the last field that we offer.
const LEN: usize = 60;

const SECTOR_LEN: u32 = SECTOR as u32;

/// Its bytes, for a disk that offers `features`.
pub(super) fn bytes(facts: &Facts, offered: u64, queues: u16, writeback: bool) -> [u8; LEN] {
    let mut config = [0u8; LEN];
    let logical = facts.logical.max(1);
    let blocks = |bytes: u32| bytes.checked_div(logical).unwrap_or_default();
    let physical = logical.checked_shl(facts.physical_exponent.into()).unwrap_or(logical);
    config.put_double(0, facts.size / SECTOR);
    config.put_word(12, SEG_MAX);
    config.put_word(20, logical);
    config.put_byte(24, facts.physical_exponent);
    let least = u16::try_from(blocks(physical)).unwrap_or(1);
    config.put_half(26, least);
    config.put_word(28, blocks(facts.optimal));
    config.put_byte(WRITEBACK_AT as usize, writeback.into());
    config.put_half(34, queues);
    let ranges = MAX_RANGES as u32;
    if offered & features::DISCARD != 0 {
        let granularity = facts.discard_granularity / SECTOR_LEN;
        config.put_word(36, MAX_RANGE_SECTORS);
        config.put_word(40, ranges);
        config.put_word(44, granularity.max(1));
    }
    if offered & features::WRITE_ZEROES != 0 {
        config.put_word(48, MAX_RANGE_SECTORS);
        config.put_word(52, ranges);
        config.put_byte(56, 1);
    }
    config
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;

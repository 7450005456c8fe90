//! What is to be known of an image by who makes a disk of it.

use std::fs::File;

use super::host;
use super::medium::{Medium, PAGE};
use crate::request::SECTOR;

/// What a guest may want to know of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes, a multiple of [`SECTOR`].
    pub size: u64,
    /// Bytes of a logical block, as the guest is to see it: always [`SECTOR`], whatever the host's is.
    pub logical: u32,
    /// Logical blocks of a physical one, as a power of two.
    pub physical_exponent: u8,
    /// Bytes that are best read or written at once; 0 if the host does not say.
    pub optimal: u32,
    /// Bytes that a discard frees at least; a multiple of a logical block.
    pub discard_granularity: u32,
    /// It is never written.
    pub read_only: bool,
}

/// Those of a file of this kind, whose file system has blocks of `block` bytes; its size is not known yet.
pub fn facts(file: &File, medium: Medium, read_only: bool, block: u64) -> Facts {
    let logical = SECTOR as u32;
    let (physical, optimal) = match medium {
        Medium::File => (u32::try_from(block).unwrap_or(PAGE), 0),
        Medium::Device { .. } => (host::physical_block(file), host::optimal(file)),
    };
    // What is no power of two, or absurd, is no help to a guest.
    let usable = physical.is_power_of_two() && (logical..=1 << 20).contains(&physical);
    let physical = if usable { physical } else { PAGE };
    let exponent = physical.trailing_zeros().saturating_sub(logical.trailing_zeros());
    Facts {
        size: 0,
        logical,
        physical_exponent: u8::try_from(exponent).unwrap_or_default(),
        optimal: whole_sectors(optimal.into()) as u32, // no more than it was
        discard_granularity: physical.max(PAGE),
        read_only,
    }
}

/// As many of these bytes as are in whole sectors.
pub fn whole_sectors(bytes: u64) -> u64 {
    bytes & !(SECTOR - 1)
}

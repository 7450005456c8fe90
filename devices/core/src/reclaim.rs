//! Giving memory of the guest back to the host.

use std::io;

/// Why memory was not given back.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// Some of it is not guest RAM: a mistake of the guest's. Nothing was given back.
    #[error("a range is not in guest memory")]
    OutsideRam,
    /// The host refused.
    #[error("the host does not take memory back")]
    Host(#[from] io::Error),
}

/// Gives pages of a machine's RAM back to the host. They stay the guest's, which reads zeroes there and gets new
/// pages as it writes.
pub trait Reclaim: Send + Sync {
    /// Bytes of a page of the host as it backs the RAM: less than one cannot be given back.
    fn granule(&self) -> u64;

    /// Whether all of the `len` bytes from guest-physical `start` on are RAM.
    fn is_ram(&self, start: u64, len: u64) -> bool;

    /// Gives back what lies in the `len` bytes from guest-physical `start` on, as far as that is whole granules;
    /// returns how many bytes that were. Fails if not all of it is RAM, or the host refuses.
    fn discard(&self, start: u64, len: u64) -> Result<u64, ReclaimError>;
}

//! What a user may say about persistent memory.

use std::path::PathBuf;

use device_core::device::is_usable_id;
use device_core::limiter::Limits;

/// Persistent memory is made up to a whole number of so many bytes: what its drivers can map at once.
pub const GRANULE: u64 = 2 << 20;

/// A file as memory of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PmemSpec {
    /// Unique in the machine; letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// A file, or a block device.
    pub path: PathBuf,
    /// It is never written.
    pub read_only: bool,
    /// It has the guest's root file system.
    pub root: bool,
    /// How often it is flushed at most, and how many bytes of it: each time as many as it has.
    pub limits: Limits,
}

/// What makes no sense of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A name that cannot be one.
    #[error("take 1 to 64 letters, digits, '_', '-' and '.'")]
    Id,
}

impl PmemSpec {
    /// Checks what can be checked without the file. Fails with what is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        if is_usable_id(&self.id) { Ok(()) } else { Err(SpecError::Id) }
    }
}

//! What of persistent memory outlives its process: where the guest has it. What is in it is the file's.

use std::time::Instant;

use device_core::limiter::Levels;
use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::Pmem;

/// Persistent memory whose flushes are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmemState {
    /// Guest-physical address of its first byte; it must come back there.
    pub address: u64,
    /// Bytes that the guest has there; the same.
    pub size: u64,
    /// It cannot be written; the same.
    pub read_only: bool,
    /// How far the limits of flushes are used up.
    pub limits: Levels,
}

impl Snapshot for Pmem {
    type State = PmemState;
    const KIND: &'static str = "virtio-pmem";
    const VERSION: u16 = 1;

    fn save(&self) -> PmemState {
        PmemState {
            address: self.window.address(),
            size: self.window.size(),
            read_only: self.shared.image.mode().read_only,
            limits: self.shared.limiter.levels(Instant::now()),
        }
    }

    fn load(&self, state: PmemState) -> Result<(), LoadError> {
        let refuse = |field, why: String| Err(LoadError::field(Pmem::KIND, field, why));
        let own = Snapshot::save(self);
        if state.address != own.address {
            let (found, own) = (state.address, own.address);
            return refuse(
                "address",
                format!("the guest has it at {found:#x}; here it is {own:#x}"),
            );
        }
        if state.size != own.size {
            let (found, own) = (state.size, own.size);
            return refuse("size", format!("the file had {found} bytes, and this one has {own}"));
        }
        if state.read_only != own.read_only {
            let why = if own.read_only { "cannot" } else { "can" };
            return refuse("read_only", format!("this file {why} be written"));
        }
        self.shared.limiter.set_levels(state.limits, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

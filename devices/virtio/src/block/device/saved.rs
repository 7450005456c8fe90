//! What of a disk outlives its process: what its driver takes for granted, and whether its cache is on.

use std::sync::atomic::Ordering;

use block::port::PortControl;
use device_core::limiter::Levels;
use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::Block;
use crate::block::features;

/// A disk without its queues, all of whose requests are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// Bytes; the disk that it comes back on must have as many.
    pub size: u64,
    /// The serial number that the driver reads; the same.
    pub serial: String,
    /// It cannot be written; the same.
    pub read_only: bool,
    /// The driver has the cache on.
    pub writeback: bool,
    /// How far the disk's limits are used up.
    pub limits: Levels,
}

impl Snapshot for Block {
    type State = BlockState;
    const KIND: &'static str = "virtio-block";
    const VERSION: u16 = 1;

    fn save(&self) -> BlockState {
        let facts = self.port.facts();
        BlockState {
            size: facts.size,
            serial: self.port.serial().to_owned(),
            read_only: facts.read_only,
            writeback: self.common.writeback.load(Ordering::Relaxed),
            limits: self.port.levels(),
        }
    }

    fn load(&self, state: BlockState) -> Result<(), LoadError> {
        let refuse = |field, why: String| Err(LoadError::field(Block::KIND, field, why));
        let own = Snapshot::save(self);
        if state.size != own.size {
            let (found, own) = (state.size, own.size);
            return refuse("size", format!("the disk had {found} bytes, and this one has {own}"));
        }
        if state.serial != own.serial {
            let (found, own) = (state.serial, own.serial);
            return refuse(
                "serial",
                format!("the disk's was {found:?}, and this one's is {own:?}"),
            );
        }
        if state.read_only != own.read_only {
            let why = if own.read_only { "cannot" } else { "can" };
            return refuse("read_only", format!("this disk {why} be written"));
        }
        if state.writeback != self.common.has_cache && self.features & features::CONFIG_WCE == 0 {
            return refuse("writeback", "no driver can switch this disk's cache".to_owned());
        }
        self.common.writeback.store(state.writeback, Ordering::Relaxed);
        self.port.set_levels(state.limits);
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

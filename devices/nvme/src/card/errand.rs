//! What the controller has to do on the disk itself: a flush, while no queue's ring is on a lane.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lanes::FlushState;

/// Why it flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is being shut down.
    Shutdown,
    /// The write cache goes off, which command `id` is to be told when it is.
    CacheOff {
        /// The command.
        id: u16,
    },
    /// For none any more: it was reset meanwhile.
    Gone,
}

/// Where the flush is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for rings to come home, or for the machine to go on.
    Waiting,
    /// On the first lane.
    Lane,
    /// On its way from there.
    Leaving,
}

/// A flush.
pub struct Errand {
    /// Why.
    pub reason: Reason,
    /// Where it is.
    pub stage: Stage,
    /// What became of it.
    pub state: Arc<FlushState>,
}

impl Errand {
    /// One that waits.
    pub fn new(reason: Reason) -> Errand {
        Errand { reason, stage: Stage::Waiting, state: Arc::default() }
    }

    /// Whether it is on no lane.
    pub fn is_home(&self) -> bool {
        self.stage == Stage::Waiting
    }
}

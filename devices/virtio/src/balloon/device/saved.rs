//! What of the balloon outlives its process: what its owner wants, and what its driver said.

use std::collections::BTreeMap;

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};

use super::Balloon;
use crate::balloon::features;
use crate::balloon::hinting::{Hinting, HintingState};
use crate::balloon::statistics::Statistics;

/// A balloon without its queues. Pages that went back to the host read as zeroes, which memory's own part keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonState {
    /// Pages of 4 KiB that the guest is to give up.
    pub target: u32,
    /// Pages that it says it gave up.
    pub actual: u32,
    /// What it says its free pages are filled with.
    pub poison: u32,
    /// Seconds between two reports; 0 for none.
    pub interval_s: u16,
    /// The last report, by its names.
    pub statistics: BTreeMap<String, u64>,
    /// Where hinting stands.
    pub hinting: HintingState,
    /// Which pages are in the balloon, where the host's pages are larger than ours; else empty.
    pub blocks: Vec<BlockState>,
}

/// Pages in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// Number of the first page of 4 KiB.
    pub first: u32,
    /// A bit for each page, the lowest of the first byte first: whether it is in the balloon.
    #[serde(with = "blob")]
    pub held: Vec<u8>,
}

impl Snapshot for Balloon {
    type State = BalloonState;
    const KIND: &'static str = "virtio-balloon";
    const VERSION: u16 = 1;

    fn save(&self) -> BalloonState {
        let state = &self.state;
        let statistics = state.statistics();
        let blocks = state.held();
        BalloonState {
            target: state.target(),
            actual: state.actual(),
            poison: state.poison(),
            interval_s: self.interval_s(),
            statistics: statistics.iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            hinting: state.hinting().saved(),
            blocks: blocks.into_iter().map(|(first, held)| BlockState { first, held }).collect(),
        }
    }

    fn load(&self, state: BalloonState) -> Result<(), LoadError> {
        let refuse = |field, why: &str| LoadError::field(Balloon::KIND, field, why);
        let reports = self.features & features::STATISTICS != 0;
        if reports != (state.interval_s != 0) {
            let why = if reports { "this balloon has statistics" } else { "this balloon has none" };
            return Err(refuse("interval_s", why));
        }
        let statistics = Statistics::named(&state.statistics);
        let statistics =
            statistics.ok_or_else(|| refuse("statistics", "a report has no such name"))?;
        let hinting = Hinting::restored(state.hinting);
        let hinting = hinting.ok_or_else(|| refuse("hinting", "there was no such run"))?;
        let blocks = state.blocks.iter().map(|block| (block.first, block.held.as_slice()));
        self.state.hold(blocks).map_err(|why| refuse("blocks", why))?;
        let own = &self.state;
        own.set_interval(state.interval_s);
        own.set_actual(state.actual);
        own.set_poison(state.poison);
        // No driver is there yet to be told.
        own.set_target(state.target);
        *own.statistics() = statistics;
        *own.hinting() = hinting;
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

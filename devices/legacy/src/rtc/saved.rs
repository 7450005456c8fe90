//! What of the clock outlives its process: its cells, and how far it is ahead of the host's.

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};

use super::{A_UPDATING, CELLS, Core, D_VALID, Rtc, STATUS_A, STATUS_C, STATUS_D};

/// More than a clock with four digits of a year can be ahead of another, or behind it, in seconds.
const FARTHEST: u64 = 400_000_000_000;

/// The clock between two accesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcState {
    /// The cell that the data port shows.
    pub index: u8,
    /// All cells. Those of the time count only while the guest sets it.
    #[serde(with = "blob")]
    pub ram: [u8; CELLS],
    /// What the guest's clock is ahead of the host's, in seconds; it goes on with the clock of the host that it comes
    /// to.
    pub ahead: i64,
}

impl Snapshot for Rtc {
    type State = RtcState;
    const KIND: &'static str = "rtc";
    const VERSION: u16 = 1;

    fn save(&self) -> RtcState {
        self.with_core(|core, _| RtcState { index: core.index, ram: core.ram, ahead: core.ahead })
    }

    fn load(&self, state: RtcState) -> Result<(), LoadError> {
        let refuse = |field, why: &str| Err(LoadError::field(Rtc::KIND, field, why));
        if usize::from(state.index) >= CELLS {
            return refuse("index", "the clock has no such cell");
        }
        if state.ahead.unsigned_abs() > FARTHEST {
            return refuse("ahead", "no time that the clock can show is so far away");
        }
        let RtcState { index, ram, ahead } = state;
        let loaded = Core { index, ram, ahead, shown: None };
        let status = [STATUS_A, STATUS_C, STATUS_D].map(|index| loaded.get(index));
        if status[0] & A_UPDATING != 0 || status[1..] != [0, D_VALID] {
            return refuse("ram", "it has status bits that the guest cannot set");
        }
        self.with_core(|core, _| *core = loaded);
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

//! What of a generation outlives its process: where the guest looks for it, and its counts. The id does not: nobody
//! goes on with it.

use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::page::Counts;
use super::{Generation, Places};

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationState {
    /// Where the guest was told that both are.
    pub places: Places,
    /// The count of the page's changes, even.
    pub sequence: u32,
    /// Its count of breaks in time.
    pub disruptions: u64,
    /// Its count of machines.
    pub generation: u64,
}

impl Snapshot for Generation {
    type State = GenerationState;
    const KIND: &'static str = "generation";
    const VERSION: u16 = 1;

    fn save(&self) -> GenerationState {
        let Counts { sequence, disruptions, generation } = *self.counts();
        GenerationState { places: self.places, sequence, disruptions, generation }
    }

    fn load(&self, state: GenerationState) -> Result<(), LoadError> {
        let refuse = |field, why: &str| Err(LoadError::field(Generation::KIND, field, why));
        let GenerationState { places, sequence, disruptions, generation } = state;
        if places != self.places {
            return refuse("places", "the guest looks for it elsewhere");
        }
        if sequence % 2 != 0 {
            return refuse("sequence", "it is odd, as in the midst of a change");
        }
        *self.counts() = Counts { sequence, disruptions, generation };
        Ok(())
    }
}

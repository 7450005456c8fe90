//! What of a function outlives its process: its configuration space, and its vectors.
//!
//! It comes back before its card does. The card, stopped and as after power-on, hears of its BARs, of MSI-X and of
//! bus mastering, as it does of a guest's writes.

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};

use super::{InForce, PciFunction};
pub use crate::msix::VectorState;

/// A function without its card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionState {
    /// The first 256 bytes of configuration space, as the guest reads them; the rest is zero. What the guest cannot
    /// write must be as in the card that is there now.
    #[serde(with = "blob")]
    pub config: Vec<u8>,
    /// Indices of the BARs that are on the bus. One that the registers enable is not, if another was there first.
    pub mapped: Vec<u8>,
    /// The MSI-X table with its pending bits; empty for a function without MSI-X.
    pub vectors: Vec<VectorState>,
}

impl Snapshot for PciFunction {
    type State = FunctionState;
    const KIND: &'static str = "pci-function";
    const VERSION: u16 = 1;

    fn save(&self) -> FunctionState {
        let in_force = self.turn();
        let placed = self.bars.iter().zip(&in_force.placed);
        let mapped = placed.filter(|(_, at)| at.is_some()).map(|(bar, _)| bar.index);
        FunctionState {
            config: self.config().saved(),
            mapped: mapped.collect(),
            vectors: self.msix.as_ref().map(|msix| msix.saved()).unwrap_or_default(),
        }
    }

    fn load(&self, state: FunctionState) -> Result<(), LoadError> {
        let mut in_force = self.turn();
        self.load_config(&state.config)?;
        self.load_vectors(&state.vectors)?;
        self.settle_msix(&mut in_force);
        self.load_bars(&mut in_force, &state.mapped)?;
        self.settle_bus_master(&mut in_force);
        match &self.msix {
            Some(msix) if !msix.is_settled() => {
                Err(refuse("vectors", "the host cannot route them".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl PciFunction {
    fn load_config(&self, bytes: &[u8]) -> Result<(), LoadError> {
        let mut config = self.config();
        config.restore(bytes).map_err(|other| refuse("config", other.to_string()))?;
        if self.capabilities.take_function_reset(&mut config) {
            return Err(refuse("config", "a function level reset is over at once".to_owned()));
        }
        Ok(())
    }

    fn load_vectors(&self, vectors: &[VectorState]) -> Result<(), LoadError> {
        match &self.msix {
            Some(msix) => msix.restore(vectors).map_err(|why| refuse("vectors", why)),
            None if vectors.is_empty() => Ok(()),
            None => Err(refuse("vectors", "this card has none".to_owned())),
        }
    }

    fn load_bars(&self, in_force: &mut InForce, mapped: &[u8]) -> Result<(), LoadError> {
        let is_known = |index: &u8| self.bars.iter().any(|bar| bar.index == *index);
        if let Some(index) = mapped.iter().find(|index| !is_known(index)) {
            return Err(refuse("mapped", format!("this card has no BAR {index}")));
        }
        for (bar, placed) in self.bars.iter().zip(&mut in_force.placed) {
            if !mapped.contains(&bar.index) {
                continue;
            }
            let no_place = || format!("BAR {} is disabled, or outside of the windows", bar.index);
            let address = self.wanted(bar).ok_or_else(|| refuse("mapped", no_place()))?;
            self.place(bar, placed, address)
                .map_err(|error| refuse("mapped", format!("BAR {}: {error}", bar.index)))?;
        }
        Ok(())
    }
}

fn refuse(field: &'static str, why: String) -> LoadError {
    LoadError::field(PciFunction::KIND, field, why)
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

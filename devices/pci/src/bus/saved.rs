//! What of the bus outlives its process: the address port, and the function in each slot.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use super::{ADDRESS_BITS, PciBus, Slot};
use crate::function::PciFunction;
use crate::function::saved::FunctionState;

/// The bus with its functions, without their cards. It comes back before they do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusState {
    /// What the address port at 0xcf8 holds.
    pub address: u32,
    /// All slots with something in them, in order; the host bridge is in slot 0.
    pub slots: Vec<SlotState>,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotState {
    /// The device number.
    pub slot: u8,
    /// The id of the card.
    pub card: String,
    /// Its function.
    pub function: FunctionState,
}

impl Snapshot for PciBus {
    type State = BusState;
    const KIND: &'static str = "pci-bus";
    const VERSION: u16 = 1;

    fn save(&self) -> BusState {
        let slot = |(slot, function): (u8, Arc<PciFunction>)| SlotState {
            slot,
            card: function.device().id().to_owned(),
            function: function.save(),
        };
        BusState {
            address: self.address.load(Ordering::Relaxed),
            slots: self.functions().into_iter().map(slot).collect(),
        }
    }

    fn load(&self, state: BusState) -> Result<(), LoadError> {
        if state.address & !ADDRESS_BITS != 0 {
            return Err(refuse("address", format!("{:#x} has bits that read as 0", state.address)));
        }
        let own = self.functions();
        let ids = own.iter().map(|(slot, function)| (*slot, function.device().id()));
        let found = state.slots.iter().map(|slot| (slot.slot, slot.card.as_str()));
        if !ids.clone().eq(found.clone()) {
            let list = |of: &mut dyn Iterator<Item = (u8, &str)>| {
                of.map(|(slot, card)| format!("{slot}: {card}")).collect::<Vec<_>>().join(", ")
            };
            let (mut found, mut ids) = (found, ids);
            let (found, own) = (list(&mut found), list(&mut ids));
            return Err(refuse("slots", format!("the cards are {found}; here they are {own}")));
        }
        self.address.store(state.address, Ordering::Relaxed);
        own.iter().zip(state.slots).try_for_each(|((_, own), slot)| own.load(slot.function))
    }
}

impl PciBus {
    /// What is in the slots, in order.
    fn functions(&self) -> Vec<(u8, Arc<PciFunction>)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let present =
            |(nth, slot): (u8, &Option<Slot>)| Some((nth, slot.as_ref()?.function.clone()?));
        (0..).zip(&*slots).filter_map(present).collect()
    }
}

fn refuse(field: &'static str, why: String) -> LoadError {
    LoadError::field(PciBus::KIND, field, why)
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

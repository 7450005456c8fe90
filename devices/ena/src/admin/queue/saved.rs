//! What of the admin queue outlives its process.

use device_core::GuestRam;
use device_core::snapshot::LoadError;
use serde::{Deserialize, Serialize};

use super::{AdminQueue, Ring};
use crate::abi::ENTRY;
use crate::saved::bad;

/// A ring as its CAPS register enabled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingState {
    /// Guest-physical address.
    pub base: u64,
    /// Entries.
    pub depth: u16,
}

/// How far commands and answers are; counters of 16 bits, of which any may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminState {
    /// The submission ring.
    pub commands: Option<RingState>,
    /// The completion ring.
    pub answers: Option<RingState>,
    /// Commands taken.
    pub consumed: u16,
    /// Answers given.
    pub produced: u16,
    /// As written last.
    pub doorbell: u16,
}

impl Ring {
    /// Where it is.
    pub fn save(&self) -> RingState {
        RingState { base: self.base, depth: self.depth }
    }

    /// The ring that the registers would have made of it. Fails if they would have made none.
    pub fn load(
        state: Option<&RingState>,
        field: &'static str,
        memory: &GuestRam,
    ) -> Result<Option<Ring>, LoadError> {
        let Some(RingState { base, depth }) = state else { return Ok(None) };
        let caps = (ENTRY as u32) << 16 | u32::from(*depth);
        let ring = Ring::latch(*base, caps, memory).map_err(|why| bad(field, why.to_string()))?;
        let ring = ring.ok_or_else(|| bad(field, format!("no ring has {depth} entries")))?;
        Ok(Some(ring))
    }
}

impl AdminQueue {
    /// The state.
    pub fn save(&self) -> AdminState {
        AdminState {
            commands: self.commands.as_ref().map(Ring::save),
            answers: self.answers.as_ref().map(Ring::save),
            consumed: self.consumed,
            produced: self.produced,
            doorbell: self.doorbell,
        }
    }

    /// The queue that goes on from there. Fails if a ring cannot be.
    pub fn load(state: &AdminState, memory: &GuestRam) -> Result<AdminQueue, LoadError> {
        Ok(AdminQueue {
            commands: Ring::load(state.commands.as_ref(), "admin.commands", memory)?,
            answers: Ring::load(state.answers.as_ref(), "admin.answers", memory)?,
            consumed: state.consumed,
            produced: state.produced,
            doorbell: state.doorbell,
        })
    }
}

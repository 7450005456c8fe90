//! A vector that masks itself: one interrupt for each time the driver asks for one.
//!
//! Drivers of such a card do not look at their completions again after they unmask, so what was
//! completed while the vector was masked must fire right then. No completion is left behind:
//! `tests/loom.rs` tries all interleavings, for one worker and for two on one vector.

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU8, Ordering};

/// Sends the interrupt.
pub trait Fire {
    /// Sends it once; never waits.
    fn fire(&self);
}

/// The next raise fires.
const ARMED: u8 = 1;
/// Raised while masked; the next unmask fires.
const PENDING: u8 = 2;

/// What a gate is at, where nobody uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// Nothing is raised, and nothing wanted.
    #[default]
    Masked,
    /// The next raise fires.
    Armed,
    /// Something was raised that the next unmask fires.
    Pending,
}

/// The state of one vector, between the workers that raise it and the vCPUs that unmask it.
///
/// Born masked, with nothing pending. One gate serves all rings of its vector.
#[derive(Debug)]
pub struct IrqGate<F> {
    state: AtomicU8,
    fire: F,
}

impl<F: Fire> IrqGate<F> {
    /// A gate that sends its interrupts with `fire`.
    pub fn new(fire: F) -> IrqGate<F> {
        IrqGate { state: AtomicU8::new(0), fire }
    }

    /// There is something to see, visible already. Whether that fired; if so, the gate is masked
    /// now, else it will fire when it is unmasked.
    pub fn raise(&self) -> bool {
        let before = self.turn(|state| if state & ARMED != 0 { 0 } else { PENDING });
        self.fire_if(before & ARMED != 0)
    }

    /// The driver wants one interrupt: at once if one is pending, else at the next raise.
    pub fn unmask(&self) -> bool {
        let before = self.turn(|state| if state & PENDING != 0 { 0 } else { ARMED });
        self.fire_if(before & PENDING != 0)
    }

    /// The driver wants none for now; what is pending stays.
    pub fn mask(&self) {
        self.state.fetch_and(!ARMED, Ordering::AcqRel); // pairs with `turn`
    }

    /// Masks, and fires what is pending: the driver believes an interrupt was lost.
    pub fn repeat(&self) -> bool {
        let before = self.turn(|_| 0);
        self.fire_if(before & PENDING != 0)
    }

    /// Whether something waits for the driver to unmask.
    pub fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) & PENDING != 0
    }

    /// As born, for a new owner.
    pub fn reset(&self) {
        self.turn(|_| 0);
    }

    /// What it is at.
    pub fn state(&self) -> GateState {
        match self.state.load(Ordering::Acquire) {
            ARMED => GateState::Armed,
            PENDING => GateState::Pending,
            _ => GateState::Masked,
        }
    }

    /// As it was when [`IrqGate::state`] said so; nothing fires.
    pub fn set_state(&self, state: GateState) {
        let state = match state {
            GateState::Masked => 0,
            GateState::Armed => ARMED,
            GateState::Pending => PENDING,
        };
        self.turn(|_| state);
    }

    /// Replaces the state; returns the one before. AcqRel: who takes a state over sees what was
    /// completed before it was set.
    fn turn(&self, next: impl Fn(u8) -> u8) -> u8 {
        let next = |state| Some(next(state));
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) | Err(before) => before,
        }
    }

    fn fire_if(&self, wanted: bool) -> bool {
        if wanted {
            self.fire.fire();
        }
        wanted
    }
}

//! What the guest's unmask register does to a vector and the queues on it (specification 7.6).

use std::sync::Arc;

use device_core::interrupt::MsiVector;
use device_core::irq_gate::IrqGate;

/// One interrupt is wanted.
const UNMASK: u32 = 1 << 30;
/// The delays in this write do not count.
const KEEP_DELAYS: u32 = 1 << 31;

/// One MSI-X vector of the card as its queues see it; all queues of a pair share it.
///
/// The delays for moderation in the unmask register are read over: the card does not announce
/// moderation (feature 20), and drivers write them nevertheless.
pub struct Vector {
    gate: IrqGate<Arc<dyn MsiVector>>,
}

impl Vector {
    /// Masked, with nothing pending.
    pub fn new(msi: Arc<dyn MsiVector>) -> Vector {
        Vector { gate: IrqGate::new(msi) }
    }

    /// The guest wrote `value` to the vector's unmask register.
    pub fn write(&self, value: u32) {
        match (value & UNMASK != 0, value & KEEP_DELAYS != 0) {
            (true, _) => drop(self.gate.unmask()),
            (false, true) => self.gate.mask(),
            // The driver misses an interrupt.
            (false, false) => drop(self.gate.repeat()),
        }
    }

    /// There are new completions, visible already; whether that interrupted.
    pub fn raise(&self) -> bool {
        self.gate.raise()
    }

    /// As new, for the first queue on the vector; none may be plugged.
    pub fn reset(&self) {
        self.gate.reset();
    }
}

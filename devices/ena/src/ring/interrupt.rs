//! What the guest's unmask register does to a vector and the queues on it (specification 7.6;
//! `ena_eth_io_intr_reg` of Linux `drivers/net/ethernet/amazon/ena/ena_eth_io_defs.h`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use device_core::interrupt::MsiVector;
use device_core::irq_gate::{GateState, IrqGate};
use serde::{Deserialize, Serialize};

use super::Direction;
use crate::quiet::Register;

/// One interrupt is wanted.
const UNMASK: u32 = 1 << 30;
/// The delays in this write do not count.
const KEEP_DELAYS: u32 = 1 << 31;
/// Where the delay of transmit completions begins; that of receive completions is below.
const TX_DELAY: u32 = 15;
const DELAY: u32 = (1 << TX_DELAY) - 1;

/// Microseconds of a unit of delay, as feature 20 tells drivers.
pub const DELAY_UNIT_US: u16 = 1;
/// Longest delay: more would be taken for a lost interrupt.
pub const LONGEST_DELAY: Duration = Duration::from_millis(1);

/// What of a vector outlives its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorState {
    /// Whether an interrupt is wanted, or waits to be.
    pub gate: GateState,
    /// The delays as the guest wrote them.
    pub delays: u32,
}

/// One MSI-X vector of the card as its queues see it; all queues of a pair share it.
pub struct Vector {
    gate: IrqGate<Arc<dyn MsiVector>>,
    /// The delays as the guest wrote them. They stand alone: who sees an older value puts its
    /// interrupt off for as long as the guest wanted just before.
    delays: AtomicU32,
    /// The unmask register.
    register: Register,
    looking: AtomicBool,
}

impl Vector {
    /// Masked, with nothing pending and no delays.
    pub fn new(msi: Arc<dyn MsiVector>, register: Register) -> Vector {
        let (delays, looking) = (AtomicU32::new(0), AtomicBool::new(false));
        Vector { gate: IrqGate::new(msi), delays, register, looking }
    }

    /// Does what the guest wrote; whether that interrupted.
    fn apply(&self, value: u32) -> bool {
        match (value & UNMASK != 0, value & KEEP_DELAYS != 0) {
            (true, keep) => {
                if !keep {
                    self.delays.store(value, Ordering::Relaxed);
                }
                self.gate.unmask()
            }
            (false, true) => {
                self.gate.mask();
                false
            }
            // The driver misses an interrupt.
            (false, false) => self.gate.repeat(),
        }
    }

    /// Brings what the guest wrote into memory to where traps bring it; whether that interrupted.
    pub fn look(&self) -> bool {
        // Of two lanes on one vector one looks: what was written first must not be done last.
        if self.register.peek().is_none() || self.looking.swap(true, Ordering::Acquire) {
            return false;
        }
        let interrupted = self.register.take().is_some_and(|value| self.apply(value));
        self.looking.store(false, Ordering::Release);
        interrupted
    }

    /// The guest wrote `value` to the vector's unmask register, which came as an exit; whether that
    /// interrupted.
    pub fn write(&self, value: u32) -> bool {
        // What was written before and not seen yet must not come after.
        self.register.take();
        self.apply(value)
    }

    /// Whether an interrupt waits for an unmask.
    pub fn is_pending(&self) -> bool {
        self.gate.is_pending()
    }

    /// Whether nobody will tell of an unmask.
    pub fn must_look(&self) -> bool {
        self.register.is_open()
    }

    /// How long completions of this direction may wait for others before they interrupt.
    pub fn delay(&self, direction: Direction) -> Duration {
        let delays = self.delays.load(Ordering::Relaxed);
        let units = match direction {
            Direction::Tx => delays >> TX_DELAY & DELAY,
            Direction::Rx => delays & DELAY,
        };
        let us = u64::from(units).saturating_mul(DELAY_UNIT_US.into());
        Duration::from_micros(us).min(LONGEST_DELAY)
    }

    /// There are new completions, visible already; whether that interrupted.
    pub fn raise(&self) -> bool {
        self.gate.raise()
    }

    /// The state; what the guest wrote is taken in already.
    pub fn save(&self) -> VectorState {
        VectorState { gate: self.gate.state(), delays: self.delays.load(Ordering::Relaxed) }
    }

    /// Goes on from there; nothing fires.
    pub fn load(&self, state: &VectorState) {
        self.register.take();
        self.gate.set_state(state.gate);
        self.delays.store(state.delays, Ordering::Relaxed);
    }

    /// As new, for the first queue on the vector; none may be plugged.
    pub fn reset(&self) {
        self.register.take();
        self.gate.reset();
        self.delays.store(0, Ordering::Relaxed);
    }
}

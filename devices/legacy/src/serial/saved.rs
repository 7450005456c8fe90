//! What of a serial port outlives its process: registers and input. Its output is the host's already.

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};
use vm_superio::serial::SerialState as CoreState;

use super::{
    Core, Drained, IIR_NONE, IIR_RECEIVE, LSR_DATA_READY, Raised, Sent, Serial, causes,
    enabled_interrupts,
};

/// Interrupt identification of the core: the transmitter is empty.
const IIR_TRANSMIT: u8 = 1 << 1;
/// Bits of the enable register that can be set.
const IER_BITS: u8 = 0xf;

/// A port between two accesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialState {
    /// The divisor latch.
    pub divisor: u16,
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// Interrupt identification register, without the bits of the FIFOs.
    pub interrupt_identification: u8,
    /// Line control register.
    pub line_control: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Bytes in the input FIFO, the oldest first; up to 64.
    #[serde(with = "blob")]
    pub input: Vec<u8>,
}

/// A state is loaded after the interrupt controllers', for the line is pulsed once more if a cause of an interrupt is
/// there: an edge may have been on its way, and a driver takes one too many for noise, but waits for ever for a lost
/// one.
impl Snapshot for Serial {
    type State = SerialState;
    const KIND: &'static str = "serial-port";
    const VERSION: u16 = 1;

    fn save(&self) -> SerialState {
        let core = self.with_core(|core| core.state());
        SerialState {
            divisor: u16::from_le_bytes([core.baud_divisor_low, core.baud_divisor_high]),
            interrupt_enable: core.interrupt_enable,
            interrupt_identification: core.interrupt_identification,
            line_control: core.line_control,
            modem_control: core.modem_control,
            scratch: core.scratch,
            input: core.in_buffer,
        }
    }

    fn load(&self, state: SerialState) -> Result<(), LoadError> {
        let refuse = |field, why: &str| Err(LoadError::field(Serial::KIND, field, why));
        if state.interrupt_enable & !IER_BITS != 0 {
            return refuse("interrupt_enable", "it has bits that read as 0");
        }
        let pending = state.interrupt_identification;
        if pending != IIR_NONE && (pending == 0 || pending & !(IIR_TRANSMIT | IIR_RECEIVE) != 0) {
            return refuse("interrupt_identification", "no cause of an interrupt is called so");
        }
        let mut core = CoreState::default();
        [core.baud_divisor_low, core.baud_divisor_high] = state.divisor.to_le_bytes();
        core.interrupt_enable = state.interrupt_enable;
        core.interrupt_identification = pending;
        core.line_control = state.line_control;
        core.modem_control = state.modem_control;
        core.scratch = state.scratch;
        if !state.input.is_empty() {
            core.line_status |= LSR_DATA_READY;
        }
        core.in_buffer = state.input;
        let loaded =
            Core::from_state(&core, Raised::default(), Drained::default(), Sent::default());
        let Ok(loaded) = loaded else { return refuse("input", "the FIFO has no room for it") };
        self.with_core(|core| {
            *core = loaded;
            if enabled_interrupts(core) & causes(core) != 0 {
                core.interrupt_evt().0.set(true);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

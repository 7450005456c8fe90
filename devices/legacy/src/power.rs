//! How a guest turns the machine off or resets it (ACPI), and how its host asks it to.

use std::sync::Arc;

use device_core::bus::{BusDevice, Width};
use device_core::interrupt::IrqLine;

use crate::ports::{read_bytes, write_bytes};

/// What a guest may do to its whole machine. Called on a vCPU thread, within the guest's port
/// access, and possibly many times: it notes and returns.
pub trait BoardEvents: Send + Sync {
    /// The guest powered itself off.
    fn guest_off(&self);
    /// The guest asked for a reset.
    fn guest_reset(&self);
}

/// Where the registers are, counted from the first port of the device, and which values act; the
/// FADT tells the guest the same.
#[derive(Clone, Copy, Debug)]
pub struct PowerFacts {
    /// Offset of the sleep control register.
    pub sleep_control: u64,
    /// Offset of the sleep status register.
    pub sleep_status: u64,
    /// Offset of the reset register.
    pub reset: u64,
    /// Value of the sleep control register that powers off: SLP_TYP of S5 and SLP_EN.
    pub sleep_into_s5: u8,
    /// Value of the reset register that resets.
    pub reset_value: u8,
}

/// Sleep control, sleep status and reset register of a hardware-reduced machine (ACPI 6.5, 4.8.3.7
/// and 4.8.3.6).
///
/// All read as 0: the machine never woke from anything. A sleep type other than S5's is not offered
/// to the guest, and ignored.
pub struct PowerRegisters {
    facts: PowerFacts,
    events: Arc<dyn BoardEvents>,
}

impl PowerRegisters {
    /// The registers at the places that `facts` say.
    pub fn new(facts: PowerFacts, events: Arc<dyn BoardEvents>) -> PowerRegisters {
        PowerRegisters { facts, events }
    }
}

impl BusDevice for PowerRegisters {
    fn read(&self, offset: u64, width: Width) -> u64 {
        let PowerFacts { sleep_control, sleep_status, reset, .. } = self.facts;
        read_bytes(offset, width, |port| {
            if [sleep_control, sleep_status, reset].contains(&port) { 0 } else { 0xff }
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        write_bytes(offset, width, value, |port, byte| {
            if port == self.facts.sleep_control && byte == self.facts.sleep_into_s5 {
                self.events.guest_off();
            } else if port == self.facts.reset && byte == self.facts.reset_value {
                self.events.guest_reset();
            }
        });
    }
}

/// Reset control register of PC chip sets, one byte at port 0xcf9, here at `offset`. Linux writes it
/// when told `reboot=pci`, and firmware does.
pub struct ResetControl {
    offset: u64,
    events: Arc<dyn BoardEvents>,
}

/// Resets the processor as soon as it is set; the other bits say how much else to reset, which is
/// all the same here (Intel ICH9 data sheet, 13.7.5).
const RST_CPU: u8 = 1 << 2;

impl ResetControl {
    /// The register at `offset` of the device's ports.
    pub fn new(offset: u64, events: Arc<dyn BoardEvents>) -> ResetControl {
        ResetControl { offset, events }
    }
}

impl BusDevice for ResetControl {
    fn read(&self, offset: u64, width: Width) -> u64 {
        read_bytes(offset, width, |port| if port == self.offset { 0 } else { 0xff })
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        write_bytes(offset, width, value, |port, byte| {
            if port == self.offset && byte & RST_CPU != 0 {
                self.events.guest_reset();
            }
        });
    }
}

/// The power button: the line of the ACPI generic event device, whose method tells the guest's
/// button driver. Nothing is kept: a press while the guest has no handler is lost, as on a PC.
pub struct PowerButton {
    line: Arc<dyn IrqLine>,
}

impl PowerButton {
    /// The button on `line`, that of the generic event device.
    pub fn new(line: Arc<dyn IrqLine>) -> PowerButton {
        PowerButton { line }
    }

    /// One press: one pulse of the line.
    pub fn press(&self) {
        self.line.pulse();
    }
}

#[cfg(test)]
#[path = "power_test.rs"]
mod tests;

//! Cards that come and go while the guest runs, told to it by ACPI.
//!
//! ```text
//! plug     card into a slot ─► bit in UP ─► line ─► the guest's method reads UP, and scans the slot
//! unplug   bit in DOWN ─► line ─► the guest's method reads DOWN, its drivers let go, _EJ0 ─► EJECT ─► card out
//! ```
//! The registers are in the style of those that QEMU's ACPI PCI hot-plug has: a bit for each slot. A slot is let go
//! for nobody but the host: EJECT of a slot that it did not ask for does nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::bus::{BusDevice, Width};
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::IrqLine;
use device_core::registers::RegisterMap;
use device_core::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};

use crate::bus::{AttachError, PciBus, SLOTS};
use crate::device::PciDevice;

/// Bytes of the registers.
pub const LEN: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    /// Slots that have got a card since the last read. A read clears it.
    Up,
    /// Slots whose card the guest is asked for since the last read. A read clears it.
    Down,
    /// Slots whose card the guest lets go. Reads as 0.
    Eject,
}

const REGISTERS: RegisterMap<Register> = RegisterMap::new(&[
    (0x0, Width::B4, Register::Up),
    (0x4, Width::B4, Register::Down),
    (0x8, Width::B4, Register::Eject),
]);

/// All that there is to know between two accesses: a bit for each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotBits {
    /// Of cards that the guest has not heard of.
    pub up: u32,
    /// Of requests that the guest has not heard of.
    pub down: u32,
    /// Of cards that the guest may let go.
    pub asked: u32,
    /// Of cards that it let go, until the host has heard of it.
    pub ejected: u32,
}

/// Told on a vCPU's thread that the guest let a card go; it notes and returns.
pub type OnEject = Box<dyn Fn() + Send + Sync>;

/// The slots of a bus whose guest runs: the host's side, and the registers of the guest's.
pub struct HotPlug {
    bus: Arc<PciBus>,
    line: Arc<dyn IrqLine>,
    bits: Mutex<SlotBits>,
    on_eject: OnEject,
    log: LogLimit,
}

impl HotPlug {
    /// Slots of `bus`, whose guest is told by `line`; `on_eject` is called when it let cards go.
    pub fn new(bus: Arc<PciBus>, line: Arc<dyn IrqLine>, on_eject: OnEject) -> Arc<HotPlug> {
        let (bits, log) = (Mutex::default(), LogLimit::default());
        Arc::new(HotPlug { bus, line, bits, on_eject, log })
    }

    /// The bus, for who puts cards into it before the guest runs.
    pub fn bus(&self) -> &Arc<PciBus> {
        &self.bus
    }

    /// Puts a card into a free slot and tells the guest; returns the slot. Fails if no slot is left, or if the card
    /// describes no possible function.
    pub fn plug(&self, card: Arc<dyn PciDevice>) -> Result<u8, AttachError> {
        let slot = self.bus.plug(card)?;
        self.bits().up |= bit(slot);
        self.line.pulse();
        Ok(slot)
    }

    /// Asks the guest to let the card in `slot` go; [`HotPlug::take_ejected`] tells when it has. One that is asked for
    /// already is asked for again.
    pub fn ask(&self, slot: u8) {
        if self.bus.function(slot).is_none() {
            return;
        }
        {
            let mut bits = self.bits();
            bits.down |= bit(slot);
            bits.asked |= bit(slot);
        }
        self.line.pulse();
    }

    /// The card in `slot` is not asked for any more: it stays, whatever the guest does from now on. False if the guest
    /// let it go before.
    pub fn withdraw(&self, slot: u8) -> bool {
        let mut bits = self.bits();
        let was_asked = bits.asked & bit(slot) != 0;
        bits.down &= !bit(slot);
        bits.asked &= !bit(slot);
        was_asked
    }

    /// Takes the card in `slot` without asking. For one that no driver of the guest's uses.
    pub fn take(&self, slot: u8) {
        self.withdraw(slot);
        self.bits().up &= !bit(slot);
        self.bus.vacate(slot);
        self.bus.free(slot);
    }

    /// Whether a driver of the guest's uses the card in `slot`: it lets it do DMA.
    pub fn is_in_use(&self, slot: u8) -> bool {
        self.bus.function(slot).is_some_and(|function| function.is_bus_master())
    }

    /// Slots whose card the guest let go since this was asked last. They are free from now on.
    pub fn take_ejected(&self) -> Vec<u8> {
        let ejected = slots(std::mem::take(&mut self.bits().ejected));
        ejected.iter().for_each(|slot| self.bus.free(*slot));
        ejected
    }

    /// Tells the guest again what it has not heard: one that still boots misses what it is told before its driver of
    /// events is there. False if it has heard all.
    pub fn remind(&self) -> bool {
        let bits = self.bits_now();
        let is_unheard = bits.up | bits.down != 0;
        if is_unheard {
            self.line.pulse();
        }
        is_unheard
    }

    /// What the guest has been told and may do.
    pub fn bits_now(&self) -> SlotBits {
        *self.bits()
    }

    fn eject(&self, wanted: u32) {
        let granted = {
            let mut bits = self.bits();
            let granted = wanted & bits.asked;
            bits.asked &= !granted;
            bits.up &= !granted;
            bits.down &= !granted;
            granted
        };
        if granted != wanted {
            let unasked = slots(wanted & !granted);
            guest_warn!(self.log, "the guest ejects PCI slots that nobody asked for: {unasked:?}");
        }
        if granted == 0 {
            return;
        }
        // Gone before the guest goes on: whoever looks next finds an empty slot.
        slots(granted).into_iter().for_each(|slot| self.bus.vacate(slot));
        self.bits().ejected |= granted;
        (self.on_eject)();
    }

    fn bits(&self) -> MutexGuard<'_, SlotBits> {
        self.bits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bit(slot: u8) -> u32 {
    1u32.checked_shl(slot.into()).unwrap_or(0)
}

fn slots(bits: u32) -> Vec<u8> {
    (0..SLOTS).filter(|slot| bits & bit(*slot) != 0).collect()
}

/// Accesses of another width than four bytes, or beside a register, read all ones and change nothing.
impl BusDevice for HotPlug {
    fn read(&self, offset: u64, width: Width) -> u64 {
        let mut bits = self.bits();
        match REGISTERS.find(offset, width) {
            Some(Register::Up) => std::mem::take(&mut bits.up).into(),
            Some(Register::Down) => std::mem::take(&mut bits.down).into(),
            Some(Register::Eject) => 0,
            None => width.mask(),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        if REGISTERS.find(offset, width) == Some(Register::Eject) {
            self.eject(u32::try_from(value).unwrap_or_default());
        }
    }
}

/// Of a card that the guest is asked for nothing is left to who loads it: whoever asked asks again.
impl Snapshot for HotPlug {
    type State = SlotBits;
    const KIND: &'static str = "pci-hot-plug";
    const VERSION: u16 = 1;

    fn save(&self) -> SlotBits {
        self.bits_now()
    }

    fn load(&self, state: SlotBits) -> Result<(), LoadError> {
        let here = (0..SLOTS).filter(|slot| self.bus.function(*slot).is_some());
        let here = here.fold(0, |bits, slot| bits | bit(slot));
        if state.up & !here != 0 {
            let why = format!("slots {:#x} have cards, and {:#x} are told of", here, state.up);
            return Err(LoadError::field(Self::KIND, "up", why));
        }
        *self.bits() = SlotBits { up: state.up, ..SlotBits::default() };
        Ok(())
    }
}

#[cfg(test)]
#[path = "hotplug_test.rs"]
mod tests;

//! Where devices go: slots of the PCI bus, or slots at fixed addresses in a machine without one.

use std::io;
use std::sync::Arc;

use arch::layout::{VIRTIO_MMIO_SIZE, virtio_mmio_slots};
use device_core::bus::{Bus, BusDevice, BusError};
use device_core::device::MmioSlot;
use pci::hotplug::HotPlug;

use crate::kvm::irq::Lines;

/// The one bus that a machine has for devices.
pub enum Slots {
    /// Each device takes the first that is free.
    Pci(Arc<HotPlug>),
    /// Each device is built for its own.
    Mmio(MmioSlots),
}

/// The slots that ACPI's tables and the kernel's command line announce.
pub struct MmioSlots {
    lines: Lines,
    bus: Arc<Bus>,
}

/// Why a device did not come into a slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("all slots of the machine are taken")]
    Full,
    #[error("KVM refused its interrupt line {gsi}")]
    Line { gsi: u32, source: io::Error },
    #[error("the board's address map is wrong")]
    Map(#[from] BusError),
}

impl MmioSlots {
    /// Slots whose lines are of `lines`, and whose registers appear on `bus`.
    pub fn new(lines: Lines, bus: Arc<Bus>) -> MmioSlots {
        MmioSlots { lines, bus }
    }

    /// The slot of device number `nth`, from 0; each is to be taken once. Fails if there are not so many,
    /// or if KVM refuses the line.
    pub fn take(&self, nth: usize) -> Result<MmioSlot, SlotError> {
        let slot = virtio_mmio_slots().nth(nth).ok_or(SlotError::Full)?;
        let gsi = slot.gsi;
        let line = self.lines.line(gsi).map_err(|source| SlotError::Line { gsi, source })?;
        Ok(MmioSlot { address: slot.address, line })
    }

    /// Puts the registers of a device into its slot. Fails if another is there.
    pub fn insert(&self, slot: &MmioSlot, device: Arc<dyn BusDevice>) -> Result<(), SlotError> {
        Ok(self.bus.insert(slot.address, VIRTIO_MMIO_SIZE, device)?)
    }
}

//! The host bridge at 00:00.0: an identity, and nothing to program.

use std::sync::Arc;

use device_core::bus::Width;
use device_core::device::Device;
use device_core::interrupt::MsiSet;
use device_core::snapshot::{LoadError, SaveError, Saved};

use crate::device::{BarSpec, Identity, PciDevice};

/// Of its state, which is none.
const KIND: &str = "host-bridge";

/// Systems look for a host bridge in slot 0 before they trust the bus. This is the generic one of
/// PCI Express root complexes made in software; no system has a driver or a quirk for it.
pub struct HostBridge;

impl Device for HostBridge {
    fn id(&self) -> &str {
        "host-bridge"
    }
    fn start(&self) {}
    fn stop(&self) {}
    fn reset(&self) {}

    fn save(&self) -> Result<Saved, SaveError> {
        Saved::new(KIND, 1, &())
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        saved.read(KIND, 1, |_, state| state)
    }
}

impl PciDevice for HostBridge {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x0008,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            class: 0x06_00_00,
            revision: 0,
        }
    }
    fn bars(&self) -> &[BarSpec] {
        &[]
    }
    fn msix(&self) -> Option<&Arc<dyn MsiSet>> {
        None
    }
    fn msix_bar(&self) -> u8 {
        0
    }
    fn read(&self, _bar: u8, _offset: u64, width: Width) -> u64 {
        width.mask()
    }
    fn write(&self, _bar: u8, _offset: u64, _width: Width, _value: u64) {}
    fn bus_master(&self, _on: bool) {}
}

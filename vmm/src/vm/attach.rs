//! The one way a device gets into a machine.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use device_core::device::{Device, Kit};
use devices::balloon::Balloon;
use devices::block::control::DiskControl;
use devices::entropy::Entropy;
use devices::pmem::Pmem;
use devices::vsock::VsockControl;
use devices::{BuildError, DeviceSpec, Kind, Place};

use super::board::Board;
use super::nic::Nic;
use super::slots::{SlotError, Slots};
use crate::words::Setting;

/// Why a device could not be attached, and which.
#[derive(Debug)]
pub struct AttachError {
    kind: Kind,
    id: String,
    /// What is wrong with it.
    pub why: Why,
}

/// Why a device could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("another one has this id; give each an id of its own")]
    SameId,
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("there is no place for it on the PCI bus")]
    Place(#[from] pci::bus::AttachError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("the machine has no bus for such a device")]
    NoBus,
}

impl AttachError {
    /// The device that it is about.
    pub fn setting(&self) -> Setting {
        Setting::of_device(self.kind, &self.id)
    }
}

/// The reason; who tells it knows what he calls the device.
impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why.source()
    }
}

/// The devices of a machine, in order of their attachment.
#[derive(Default)]
pub struct Registry {
    devices: Vec<(Kind, Arc<dyn Device>)>,
    nics: Vec<Nic>,
    disks: Vec<Arc<dyn DiskControl>>,
    vsock: Option<Arc<dyn VsockControl>>,
    pmems: Vec<Arc<Pmem>>,
    balloon: Option<Arc<Balloon>>,
    entropy: Option<Arc<Entropy>>,
}

impl Registry {
    /// Builds what `spec` asks for and puts it in its place, in a machine of `cpus` vCPUs.
    pub fn attach(
        &mut self,
        spec: &DeviceSpec,
        kit: &Kit<'_>,
        board: &Board,
        cpus: u8,
    ) -> Result<(), AttachError> {
        let attached = self.try_attach(spec, kit, board, cpus);
        attached.map_err(|why| AttachError { kind: spec.kind(), id: spec.id().to_string(), why })
    }

    fn try_attach(
        &mut self,
        spec: &DeviceSpec,
        kit: &Kit<'_>,
        board: &Board,
        cpus: u8,
    ) -> Result<(), Why> {
        let kind = spec.kind();
        if self.devices.iter().any(|(known, device)| *known == kind && device.id() == spec.id()) {
            return Err(Why::SameId);
        }
        let slot = match &board.slots {
            Slots::Pci(_) => None,
            Slots::Mmio(slots) => Some(slots.take(self.devices.len())?),
        };
        let built = spec.build(&Kit { slot: slot.as_ref(), ..*kit }, cpus)?;
        let msi = match (built.place, &board.slots, &slot) {
            (Place::Pci(card), Slots::Pci(bus), _) => {
                let msi = card.msix().cloned();
                bus.attach(card)?;
                msi
            }
            (Place::Mmio(registers), Slots::Mmio(slots), Some(slot)) => {
                slots.insert(slot, registers)?;
                None
            }
            _ => return Err(Why::NoBus),
        };
        self.nics.extend(built.nic.map(|control| Nic { control, msi, cpus }));
        self.disks.extend(built.disk);
        self.vsock = built.vsock.or(self.vsock.take());
        self.pmems.extend(built.pmem);
        self.balloon = self.balloon.take().or(built.balloon);
        self.entropy = self.entropy.take().or(built.entropy);
        self.devices.push((kind, built.device));
        Ok(())
    }

    /// All devices, in order of attachment.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Device>> {
        self.devices.iter().map(|(_, device)| device)
    }

    /// The network cards among them.
    pub fn nics(&self) -> &[Nic] {
        &self.nics
    }

    /// The disks among them.
    pub fn disks(&self) -> &[Arc<dyn DiskControl>] {
        &self.disks
    }

    /// The vsock among them.
    pub fn vsock(&self) -> Option<&Arc<dyn VsockControl>> {
        self.vsock.as_ref()
    }

    /// Persistent memory among them.
    pub fn pmems(&self) -> &[Arc<Pmem>] {
        &self.pmems
    }

    /// The balloon among them.
    pub fn balloon(&self) -> Option<&Arc<Balloon>> {
        self.balloon.as_ref()
    }

    /// The source of entropy among them.
    pub fn entropy(&self) -> Option<&Arc<Entropy>> {
        self.entropy.as_ref()
    }
}

//! The one way a device gets into a machine.

use std::sync::Arc;

use device_core::device::{Device, Kit};
use devices::{BuildError, DeviceSpec, Place};

use super::board::Board;
use super::nic::Nic;

/// Why a device could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("two devices have the id '{0}'; give each an id of its own")]
    SameId(String),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("no place for device '{id}' on the PCI bus")]
    Place { id: String, source: pci::bus::AttachError },
}

/// The devices of a machine, in order of their attachment.
#[derive(Default)]
pub struct Registry {
    devices: Vec<Arc<dyn Device>>,
    nics: Vec<Nic>,
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
        if self.devices.iter().any(|device| device.id() == spec.id()) {
            return Err(AttachError::SameId(spec.id().to_string()));
        }
        let built = spec.build(kit)?;
        let msi = match built.place {
            Place::Pci(card) => {
                let msi = card.msix().cloned();
                board
                    .pci
                    .attach(card)
                    .map_err(|source| AttachError::Place { id: spec.id().to_string(), source })?;
                msi
            }
        };
        self.nics.extend(built.nic.map(|control| Nic { control, msi, cpus }));
        self.devices.push(built.device);
        Ok(())
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Device>> {
        self.devices.iter()
    }

    pub fn nics(&self) -> &[Nic] {
        &self.nics
    }
}

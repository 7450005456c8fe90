//! The one way a device gets into a machine.

use std::sync::Arc;

use device_core::device::{Device, Kit};
use devices::{BuildError, DeviceSpec, Place};

use super::board::Board;

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
pub struct Registry(Vec<Arc<dyn Device>>);

impl Registry {
    /// Builds what `spec` asks for and puts it in its place.
    pub fn attach(
        &mut self,
        spec: &DeviceSpec,
        kit: &Kit<'_>,
        board: &Board,
    ) -> Result<(), AttachError> {
        if self.0.iter().any(|device| device.id() == spec.id()) {
            return Err(AttachError::SameId(spec.id().to_string()));
        }
        let built = spec.build(kit)?;
        match built.place {
            Place::Pci(card) => board
                .pci
                .attach(card)
                .map_err(|source| AttachError::Place { id: spec.id().to_string(), source })?,
        };
        self.0.push(built.device);
        Ok(())
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Device>> {
        self.0.iter()
    }
}

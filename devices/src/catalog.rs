//! Every kind of device that can be asked for: the only place that knows them all.

use std::sync::Arc;

use device_core::device::{Device, Kit};
use net::control::NicControl;
use net::spec::{Model, NicSpec};
use pci::device::PciDevice;

/// What can be asked for.
#[derive(Clone, Debug)]
pub enum DeviceSpec {
    /// A network card.
    Nic(NicSpec),
}

/// Where a device sits in the machine.
pub enum Place {
    /// A function of the PCI bus.
    Pci(Arc<dyn PciDevice>),
}

/// A device, made and not yet in its place.
pub struct Built {
    /// For the life cycle.
    pub device: Arc<dyn Device>,
    /// Where it goes.
    pub place: Place,
    /// For who looks in and steers, if it is a network card.
    pub nic: Option<Arc<dyn NicControl>>,
}

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The virtio network card's part of it.
    #[error(transparent)]
    Net(#[from] virtio::net::BuildError),
    /// The ENA card's part of it.
    #[error(transparent)]
    Ena(#[from] ena::BuildError),
    /// The host gave no eventfds or vectors.
    #[error("it got no interrupts or notifications")]
    Card(#[source] std::io::Error),
}

impl DeviceSpec {
    /// What the user calls the device.
    pub fn id(&self) -> &str {
        match self {
            DeviceSpec::Nic(spec) => &spec.id,
        }
    }

    /// Makes the device with what `kit` offers. Fails if the host lacks what it asks for, such as the
    /// TAP or interrupts.
    pub fn build(&self, kit: &Kit<'_>) -> Result<Built, BuildError> {
        match self {
            DeviceSpec::Nic(spec) if spec.model == Model::Ena => {
                let card = ena::Ena::build(spec, kit)?;
                Ok(Built { device: card.clone(), place: Place::Pci(card.clone()), nic: Some(card) })
            }
            DeviceSpec::Nic(spec) => {
                let device = virtio::net::Net::build(spec, kit)?;
                let card = virtio::transport::pci::VirtioCard::new(device.clone(), kit)
                    .map_err(BuildError::Card)?;
                let nic = Arc::new(virtio::net::Nic::new(device, card.clone()));
                Ok(Built { device: card.clone(), place: Place::Pci(card), nic: Some(nic) })
            }
        }
    }
}

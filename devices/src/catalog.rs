//! Every kind of device that can be asked for: the only place that knows them all.

use std::io;
use std::sync::Arc;

use device_core::bus::BusDevice;
use device_core::device::{Device, Kit};
use net::control::NicControl;
use net::spec::{Model, NicSpec};
use pci::device::PciDevice;
use virtio::device::VirtioDevice;
use virtio::transport::common::Transport;
use virtio::transport::mmio::VirtioMmio;
use virtio::transport::pci::VirtioCard;

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
    /// The slot that it was built for.
    Mmio(Arc<dyn BusDevice>),
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

    /// What the user said that only a PCI card can be; `None` if the device can also sit in a slot.
    pub fn needs_pci(&self) -> Option<&'static str> {
        match self {
            DeviceSpec::Nic(spec) => (spec.model == Model::Ena).then_some("model=ena"),
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
                let net = virtio::net::Net::build(spec, kit)?;
                let (device, place, transport) =
                    virtio(net.clone(), kit).map_err(BuildError::Card)?;
                let nic = Arc::new(virtio::net::Nic::new(net, transport));
                Ok(Built { device, place, nic: Some(nic) })
            }
        }
    }
}

/// Puts a virtio device on the bus that the machine has.
fn virtio(
    device: Arc<dyn VirtioDevice>,
    kit: &Kit<'_>,
) -> io::Result<(Arc<dyn Device>, Place, Arc<Transport>)> {
    match kit.slot {
        None => {
            let card = VirtioCard::new(device, kit)?;
            let transport = card.transport().clone();
            Ok((card.clone(), Place::Pci(card), transport))
        }
        Some(slot) => {
            let card = VirtioMmio::new(device, kit, slot)?;
            let transport = card.transport().clone();
            Ok((card.clone(), Place::Mmio(card), transport))
        }
    }
}

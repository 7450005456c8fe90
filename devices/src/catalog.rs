//! Every kind of device that can be asked for: the only place that knows them all.

use std::sync::Arc;

use block::control::DiskControl;
use block::spec::{DiskSpec, Model as DiskModel};
use device_core::device::{Device, Kit};
use net::control::NicControl;
use net::spec::{Model, NicSpec};
use pci::device::PciDevice;
use virtio::transport::pci::VirtioCard;

/// What can be asked for.
#[derive(Clone, Debug)]
pub enum DeviceSpec {
    /// A network card.
    Nic(NicSpec),
    /// A disk.
    Disk(DiskSpec),
}

/// What a device is. Two of one kind have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A network card.
    Nic,
    /// A disk.
    Disk,
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
    /// The same, if it is a disk.
    pub disk: Option<Arc<dyn DiskControl>>,
}

impl Built {
    /// One on the PCI bus that nobody looks into.
    fn on_pci(card: Arc<impl PciDevice + 'static>) -> Built {
        Built { device: card.clone(), place: Place::Pci(card), nic: None, disk: None }
    }
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
    /// The virtio disk's part of it.
    #[error(transparent)]
    Block(#[from] virtio::block::BuildError),
    /// The NVMe controller's part of it.
    #[error(transparent)]
    Nvme(#[from] nvme::BuildError),
    /// The host gave no eventfds or vectors.
    #[error("it got no interrupts or notifications")]
    Card(#[source] std::io::Error),
}

impl DeviceSpec {
    /// What the user calls the device.
    pub fn id(&self) -> &str {
        match self {
            DeviceSpec::Nic(spec) => &spec.id,
            DeviceSpec::Disk(spec) => &spec.id,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            DeviceSpec::Nic(_) => Kind::Nic,
            DeviceSpec::Disk(_) => Kind::Disk,
        }
    }

    /// Makes the device with what `kit` offers, for a machine of `cpus` vCPUs. Fails if the host lacks what
    /// it asks for, such as the TAP, the image or interrupts.
    pub fn build(&self, kit: &Kit<'_>, cpus: u8) -> Result<Built, BuildError> {
        match self {
            DeviceSpec::Nic(spec) if spec.model == Model::Ena => {
                let card = ena::Ena::build(spec, kit)?;
                Ok(Built { nic: Some(card.clone()), ..Built::on_pci(card) })
            }
            DeviceSpec::Nic(spec) => {
                let device = virtio::net::Net::build(spec, kit)?;
                let card = VirtioCard::new(device.clone(), kit).map_err(BuildError::Card)?;
                let nic = Arc::new(virtio::net::Nic::new(device, card.clone()));
                Ok(Built { nic: Some(nic), ..Built::on_pci(card) })
            }
            DeviceSpec::Disk(spec) => match spec.model {
                DiskModel::Virtio => {
                    let device = virtio::block::Block::build(spec, cpus.into(), kit)?;
                    let card = VirtioCard::new(device.clone(), kit).map_err(BuildError::Card)?;
                    let disk = Arc::new(virtio::block::Disk::new(device));
                    Ok(Built { disk: Some(disk), ..Built::on_pci(card) })
                }
                DiskModel::Nvme | DiskModel::NvmeInstance => {
                    let card = nvme::Nvme::build(spec, cpus, kit)?;
                    Ok(Built { disk: Some(card.clone()), ..Built::on_pci(card) })
                }
            },
        }
    }
}

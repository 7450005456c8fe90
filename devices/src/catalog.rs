//! Every kind of device that can be asked for: the only place that knows them all.

use std::sync::Arc;

use block::control::DiskControl;
use block::spec::{DiskSpec, Model as DiskModel};
use device_core::bus::BusDevice;
use device_core::device::{Device, Kit};
use net::control::NicControl;
use net::spec::{Model, Mover, NicSpec};
use pci::device::PciDevice;
use virtio::balloon::{Balloon, BalloonSpec};
use virtio::device::VirtioDevice;
use virtio::entropy::{Entropy, EntropySpec};
use virtio::memory::{HotMemory, HotMemorySpec};
use virtio::pmem::{Pmem, PmemSpec};
use virtio::transport::common::Transport;
use virtio::transport::mmio::VirtioMmio;
use virtio::transport::pci::VirtioCard;
use virtio::vsock::{OpenVsock, Vsock, VsockControl};

/// What can be asked for.
#[derive(Clone, Debug)]
pub enum DeviceSpec {
    /// A network card.
    Nic(NicSpec),
    /// A disk.
    Disk(DiskSpec),
    /// A vsock, whose socket listens already.
    Vsock(OpenVsock),
    /// Persistent memory.
    Pmem(PmemSpec),
    /// The balloon.
    Balloon(BalloonSpec),
    /// The source of entropy.
    Entropy(EntropySpec),
    /// Memory that is plugged while the guest runs.
    HotMemory(HotMemorySpec),
}

/// What a device is. Two of one kind have different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A network card.
    Nic,
    /// A disk.
    Disk,
    /// A vsock.
    Vsock,
    /// Persistent memory.
    Pmem,
    /// The balloon.
    Balloon,
    /// The source of entropy.
    Entropy,
    /// Memory that is plugged while the guest runs.
    HotMemory,
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
    /// The same, if it is a disk.
    pub disk: Option<Arc<dyn DiskControl>>,
    /// The same, if it is a vsock.
    pub vsock: Option<Arc<dyn VsockControl>>,
    /// The same, if it is persistent memory.
    pub pmem: Option<Arc<Pmem>>,
    /// The same, if it is the balloon.
    pub balloon: Option<Arc<Balloon>>,
    /// For who looks in, if it is the source of entropy.
    pub entropy: Option<Arc<Entropy>>,
    /// For who looks in and steers, if it is memory that is plugged while the guest runs.
    pub hot_memory: Option<Arc<HotMemory>>,
}

impl Built {
    /// One on the PCI bus that nobody looks into.
    fn on_pci(card: Arc<impl PciDevice + 'static>) -> Built {
        Built::at(card.clone(), Place::Pci(card))
    }

    /// One in its place that nobody looks into.
    fn at(device: Arc<dyn Device>, place: Place) -> Built {
        Built {
            device,
            place,
            nic: None,
            disk: None,
            pmem: None,
            balloon: None,
            entropy: None,
            hot_memory: None,
            vsock: None,
        }
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
    /// The vsock's part of it.
    #[error(transparent)]
    Vsock(#[from] virtio::vsock::BuildError),
    /// Persistent memory's part of it.
    #[error(transparent)]
    Pmem(#[from] virtio::pmem::BuildError),
    /// Its part of memory that is plugged while the guest runs.
    #[error(transparent)]
    HotMemory(#[from] virtio::memory::BuildError),
    /// The host gave no eventfds or vectors.
    #[error("it got no interrupts or notifications")]
    Card(#[source] std::io::Error),
}

/// The serial number that a guest reads of the disk of `spec`.
pub fn serial_of(spec: &DiskSpec) -> String {
    match spec.model {
        DiskModel::Virtio => spec.serial_or_id(),
        DiskModel::Nvme | DiskModel::NvmeInstance => nvme::Nvme::serial_of(spec),
    }
}

impl DeviceSpec {
    /// What the user calls the device.
    pub fn id(&self) -> &str {
        match self {
            DeviceSpec::Nic(spec) => &spec.id,
            DeviceSpec::Disk(spec) => &spec.id,
            DeviceSpec::Vsock(_) => virtio::vsock::ID,
            DeviceSpec::Pmem(spec) => &spec.id,
            DeviceSpec::Balloon(_) => BalloonSpec::ID,
            DeviceSpec::Entropy(_) => EntropySpec::ID,
            DeviceSpec::HotMemory(_) => HotMemorySpec::ID,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            DeviceSpec::Nic(_) => Kind::Nic,
            DeviceSpec::Disk(_) => Kind::Disk,
            DeviceSpec::Vsock(_) => Kind::Vsock,
            DeviceSpec::Pmem(_) => Kind::Pmem,
            DeviceSpec::Balloon(_) => Kind::Balloon,
            DeviceSpec::Entropy(_) => Kind::Entropy,
            DeviceSpec::HotMemory(_) => Kind::HotMemory,
        }
    }

    /// What the user said that only a PCI card can be; `None` if the device can also sit in a slot.
    pub fn needs_pci(&self) -> Option<&'static str> {
        match self {
            DeviceSpec::Nic(spec) => match (spec.model, spec.mover) {
                (Model::Ena, _) => Some("model=ena"),
                // The kernel signals vectors; with a line there goes a register.
                (Model::Virtio, Mover::Vhost) => Some("backend=vhost"),
                (Model::Virtio, Mover::Vmm) => None,
            },
            DeviceSpec::Disk(spec) => match spec.model {
                DiskModel::Virtio => None,
                DiskModel::Nvme => Some("model=nvme"),
                DiskModel::NvmeInstance => Some("model=nvme-instance"),
            },
            DeviceSpec::Vsock(_) => None,
            DeviceSpec::Pmem(_) | DeviceSpec::Balloon(_) | DeviceSpec::Entropy(_) => None,
            DeviceSpec::HotMemory(_) => None,
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
                let net = virtio::net::Net::build(spec, kit)?;
                let (built, transport) = virtio(net.clone(), kit)?;
                let nic = Arc::new(virtio::net::Nic::new(net, transport));
                Ok(Built { nic: Some(nic), ..built })
            }
            DeviceSpec::Disk(spec) => match spec.model {
                DiskModel::Virtio => {
                    let device = virtio::block::Block::build(spec, cpus.into(), kit)?;
                    let (built, _) = virtio(device.clone(), kit)?;
                    let disk = Arc::new(virtio::block::Disk::new(device));
                    Ok(Built { disk: Some(disk), ..built })
                }
                DiskModel::Nvme | DiskModel::NvmeInstance => {
                    let card = nvme::Nvme::build(spec, cpus, kit)?;
                    Ok(Built { disk: Some(card.clone()), ..Built::on_pci(card) })
                }
            },
            DeviceSpec::Vsock(open) => {
                let device = Vsock::build(open, kit)?;
                let (built, _) = virtio(device.clone(), kit)?;
                Ok(Built { vsock: Some(device), ..built })
            }
            DeviceSpec::Pmem(spec) => {
                let pmem = Pmem::build(spec, kit)?;
                let (built, _) = virtio(pmem.clone(), kit)?;
                Ok(Built { pmem: Some(pmem), ..built })
            }
            DeviceSpec::Balloon(spec) => {
                let balloon = Balloon::build(spec, kit);
                let (built, _) = virtio(balloon.clone(), kit)?;
                Ok(Built { balloon: Some(balloon), ..built })
            }
            DeviceSpec::Entropy(spec) => {
                let entropy = Entropy::build(spec, kit);
                let (built, _) = virtio(entropy.clone(), kit)?;
                Ok(Built { entropy: Some(entropy), ..built })
            }
            DeviceSpec::HotMemory(spec) => {
                let memory = HotMemory::build(spec, kit)?;
                let (built, _) = virtio(memory.clone(), kit)?;
                Ok(Built { hot_memory: Some(memory), ..built })
            }
        }
    }
}

/// Puts a virtio device on the bus that the machine has. Fails if the host gives it no eventfds or vectors.
fn virtio(
    device: Arc<dyn VirtioDevice>,
    kit: &Kit<'_>,
) -> Result<(Built, Arc<Transport>), BuildError> {
    match kit.slot {
        None => {
            let card = VirtioCard::new(device, kit).map_err(BuildError::Card)?;
            let transport = card.transport().clone();
            Ok((Built::on_pci(card), transport))
        }
        Some(slot) => {
            let card = VirtioMmio::new(device, kit, slot).map_err(BuildError::Card)?;
            let transport = card.transport().clone();
            Ok((Built::at(card.clone(), Place::Mmio(card)), transport))
        }
    }
}

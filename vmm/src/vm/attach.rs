//! The one way a device gets into a machine.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use device_core::GuestRam;
use device_core::device::{Device, Kit};
use device_core::files::{Files, Own};
use device_core::hot_region::HotRegion;
use device_core::interrupt::MsiController;
use device_core::kick::KickBinder;
use device_core::ram_window::RamWindows;
use device_core::reclaim::Reclaim;
use device_core::thread::Shut;
use device_core::worker::Threads;
use devices::balloon::Balloon;
use devices::block::control::DiskControl;
use devices::entropy::Entropy;
use devices::memory::HotMemory;
use devices::pmem::Pmem;
use devices::vsock::VsockControl;
use devices::{BuildError, DeviceSpec, Kind, Place};

use super::board::Board;
use super::metadata::Serving;
use super::nic::Nic;
use super::slots::{SlotError, Slots};
use crate::kvm::hot_region::HotSlots;
use crate::memory::reclaim::Reclaimer;
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
    #[error("the guest cannot be given metadata by it")]
    Metadata(#[source] io::Error),
    #[error("its threads cannot be shut in")]
    Shut(#[source] io::Error),
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

/// What devices are built with, for as long as the machine lives.
pub struct Supplies {
    pub memory: GuestRam,
    pub msi: Arc<dyn MsiController>,
    pub kicks: Arc<dyn KickBinder>,
    pub windows: Arc<dyn RamWindows>,
    /// Who takes memory back that devices let go.
    pub reclaim: Arc<dyn Reclaim>,
    /// The same, for the machine, which asks what was given back.
    pub reclaimer: Arc<Reclaimer>,
    /// Memory that is plugged while the guest runs, if there can be some.
    pub hot: Option<Arc<dyn HotRegion>>,
    /// The same, for the machine, whose snapshots have it.
    pub hot_slots: Option<Arc<HotSlots>>,
    pub threads: Threads,
}

impl Supplies {
    fn kit<'a>(&'a self, files: &'a dyn Files) -> Kit<'a> {
        let Supplies { memory, msi, kicks, windows, reclaim, threads, .. } = self;
        let hot = self.hot.as_ref();
        Kit { memory, msi, kicks, windows, reclaim, hot, threads, files, slot: None }
    }
}

/// When a device comes into its machine.
#[derive(Clone, Copy)]
pub enum Arrival<'a> {
    /// While that is built: the guest finds it as firmware would leave it.
    Boot,
    /// While that lives: the guest is told, and gives it addresses.
    Plugged {
        /// Who opens what it needs.
        files: &'a dyn Files,
        /// How its threads are shut in.
        shut: &'a Shut,
        /// What it brings the guest, if it is a network card that does.
        metadata: Option<&'a Serving>,
    },
}

/// A device in its place.
struct Attached {
    kind: Kind,
    device: Arc<dyn Device>,
    /// Of the PCI bus.
    slot: Option<u8>,
}

/// What is left of a device that was in a machine; all that it holds is let go with it.
pub struct Detached {
    _device: Attached,
    _nics: Vec<Nic>,
    _disks: Vec<Arc<dyn DiskControl>>,
    _pmems: Vec<Arc<Pmem>>,
}

/// The devices of a machine, in order of their attachment.
#[derive(Default)]
pub struct Registry {
    devices: Vec<Attached>,
    nics: Vec<Nic>,
    disks: Vec<Arc<dyn DiskControl>>,
    vsock: Option<Arc<dyn VsockControl>>,
    pmems: Vec<Arc<Pmem>>,
    balloon: Option<Arc<Balloon>>,
    entropy: Option<Arc<Entropy>>,
    hot_memory: Option<Arc<HotMemory>>,
}

impl Registry {
    /// Builds what `spec` asks for and puts it in its place, in a machine of `cpus` vCPUs.
    pub fn attach(
        &mut self,
        spec: &DeviceSpec,
        supplies: &Supplies,
        board: &Board,
        cpus: u8,
        arrival: Arrival<'_>,
    ) -> Result<&Arc<dyn Device>, AttachError> {
        let attached = self.try_attach(spec, supplies, board, cpus, arrival);
        attached.map_err(|why| AttachError { kind: spec.kind(), id: spec.id().to_string(), why })
    }

    fn try_attach(
        &mut self,
        spec: &DeviceSpec,
        supplies: &Supplies,
        board: &Board,
        cpus: u8,
        arrival: Arrival<'_>,
    ) -> Result<&Arc<dyn Device>, Why> {
        let kind = spec.kind();
        if self.find(kind, spec.id()).is_some() {
            return Err(Why::SameId);
        }
        let slot = match &board.slots {
            Slots::Pci(_) => None,
            Slots::Mmio(slots) => Some(slots.take(self.devices.len())?),
        };
        let files: &dyn Files = match arrival {
            Arrival::Boot => &Own,
            Arrival::Plugged { files, .. } => files,
        };
        let built = spec.build(&Kit { slot: slot.as_ref(), ..supplies.kit(files) }, cpus)?;
        let (msi, slot) = match (built.place, &board.slots, &slot) {
            (Place::Pci(card), Slots::Pci(slots), _) => {
                let msi = card.msix().cloned();
                let slot = match arrival {
                    Arrival::Boot => slots.bus().attach(card)?,
                    Arrival::Plugged { shut, metadata, .. } => {
                        // Before the guest can reach it.
                        if let (Some(card), Some(metadata)) = (&built.nic, metadata) {
                            metadata.join(&**card).map_err(Why::Metadata)?;
                        }
                        supplies.threads.shut(shut).map_err(Why::Shut)?;
                        slots.plug(card)?
                    }
                };
                (msi, Some(slot))
            }
            (Place::Mmio(registers), Slots::Mmio(slots), Some(slot)) => {
                slots.insert(slot, registers)?;
                (None, None)
            }
            _ => return Err(Why::NoBus),
        };
        self.nics.extend(built.nic.map(|control| Nic { control, msi, cpus }));
        self.disks.extend(built.disk);
        self.vsock = built.vsock.or(self.vsock.take());
        self.pmems.extend(built.pmem);
        self.balloon = self.balloon.take().or(built.balloon);
        self.entropy = self.entropy.take().or(built.entropy);
        self.hot_memory = self.hot_memory.take().or(built.hot_memory);
        self.devices.push(Attached { kind, device: built.device, slot });
        self.devices.last().map(|last| &last.device).ok_or(Why::NoBus)
    }

    fn find(&self, kind: Kind, id: &str) -> Option<&Attached> {
        self.devices.iter().find(|known| known.kind == kind && known.device.id() == id)
    }

    /// Forgets the device whose card was in `slot`, which is off the bus already. What it holds goes when the result
    /// does, and no vCPU may be in an access to it then.
    pub fn detach(&mut self, slot: u8) -> Option<Detached> {
        let at = self.devices.iter().position(|known| known.slot == Some(slot))?;
        let gone = self.devices.remove(at);
        let (kind, id) = (gone.kind, gone.device.id().to_string());
        let of = |wanted, its: &str| kind == wanted && its == id;
        let nics = self.nics.extract_if(.., |nic| of(Kind::Nic, nic.control.id())).collect();
        let disks = self.disks.extract_if(.., |disk| of(Kind::Disk, disk.id())).collect();
        let pmems = self.pmems.extract_if(.., |pmem| of(Kind::Pmem, pmem.name())).collect();
        Some(Detached { _device: gone, _nics: nics, _disks: disks, _pmems: pmems })
    }

    /// The slot of the PCI bus that the device is in, if it is there and in one.
    pub fn slot(&self, kind: Kind, id: &str) -> Option<u8> {
        self.find(kind, id)?.slot
    }

    /// Kind, id and slot of each, in order of attachment.
    pub fn places(&self) -> impl Iterator<Item = (Kind, &str, Option<u8>)> {
        self.devices.iter().map(|known| (known.kind, known.device.id(), known.slot))
    }

    /// All devices, in order of attachment.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Device>> {
        self.devices.iter().map(|known| &known.device)
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

    /// Memory that is plugged while the guest runs among them.
    pub fn hot_memory(&self) -> Option<&Arc<HotMemory>> {
        self.hot_memory.as_ref()
    }

    /// The source of entropy among them.
    pub fn entropy(&self) -> Option<&Arc<Entropy>> {
        self.entropy.as_ref()
    }
}

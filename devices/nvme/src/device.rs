//! `Nvme`: the controller as the machine and the PCI bus know it.

use std::io;
use std::sync::Arc;

use block::port::{DiskPort, OpenError, PortControl};
use block::spec::{DiskSpec, MAX_QUEUES};
use device_core::attendant::Attendant;
use device_core::bus::Width;
use device_core::device::{Device, Kit};
use device_core::interrupt::MsiSet;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use pci::device::{BarKind, BarSpec, Identity, PciDevice};

use crate::card::Card;
use crate::identity::{Identity as Who, VENDOR};
use crate::lanes::Lanes;
use crate::registers;

/// Mass storage, non-volatile memory, NVMe's I/O interface: what drivers bind to.
const CLASS: u32 = 0x01_08_02;

/// Why a controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The disk could not be opened.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// The host has no vectors or descriptors left.
    #[error("cannot get interrupts or descriptors")]
    Resources(#[source] io::Error),
}

/// An NVMe controller with one namespace.
pub struct Nvme {
    /// Leaves before the card does.
    _attendant: Attendant<Card>,
    card: Arc<Card>,
    bars: [BarSpec; 1],
}

impl Nvme {
    /// Opens the image of `spec` and starts its lanes' threads: as many lanes as it says, or as the
    /// machine has `cpus`. Fails if the image is not to be had, or the host lacks what the controller
    /// needs.
    pub fn build(spec: &DiskSpec, cpus: u8, kit: &Kit<'_>) -> Result<Arc<Nvme>, BuildError> {
        // Firmware may make two queues of I/O.
        let wanted = spec.queues.unwrap_or_else(|| u16::from(cpus).clamp(2, MAX_QUEUES));
        let port = Arc::new(DiskPort::open(spec, wanted, kit)?);
        let lanes = Box::new(port.clone());
        Nvme::on_lanes(spec, lanes, port, kit).map_err(BuildError::Resources)
    }

    /// A controller on lanes that are open already, and what is asked of them besides; what `spec` says of
    /// image, queues and limits is theirs. Fails if the host has no vectors or descriptors left.
    pub fn on_lanes(
        spec: &DiskSpec,
        lanes: Box<dyn Lanes>,
        port: Arc<dyn PortControl>,
        kit: &Kit<'_>,
    ) -> io::Result<Arc<Nvme>> {
        let card = Card::new(spec, lanes, port, kit)?;
        let bars = [BarSpec {
            index: registers::REGISTERS,
            kind: BarKind::Memory32,
            size: registers::SIZE,
        }];
        let attendant = Attendant::start(&card, card.alarm.bell(), kit.threads.slow())?;
        Ok(Arc::new(Nvme { _attendant: attendant, card, bars }))
    }

    /// The serial number that the controller of `spec` has. Drivers refuse the second of two with the same.
    pub fn serial_of(spec: &DiskSpec) -> String {
        Who::of(spec).serial
    }

    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Returns after the attendant has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self._attendant.settle();
    }
}

impl Device for Nvme {
    fn id(&self) -> &str {
        &self.card.id
    }

    fn start(&self) {
        self.card.set_started(true);
    }

    fn stop(&self) {
        self.card.set_started(false);
    }

    fn reset(&self) {
        self.card.power_on();
    }

    fn save(&self) -> Result<Saved, SaveError> {
        match self.card.is_busy() {
            None => self.card.to_saved(),
            Some(why) => Err(SaveError::Now(format!("disk {} {why}", self.card.id))),
        }
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        self.card.load_saved(saved)
    }
}

impl PciDevice for Nvme {
    fn identity(&self) -> Identity {
        Identity {
            vendor: VENDOR,
            device: self.card.identity.device,
            subsystem_vendor: VENDOR,
            subsystem: self.card.identity.device,
            class: CLASS,
            revision: 0,
        }
    }

    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    fn msix(&self) -> Option<&Arc<dyn MsiSet>> {
        Some(&self.card.msi)
    }

    fn msix_bar(&self) -> u8 {
        registers::MSIX
    }

    fn read(&self, _: u8, offset: u64, width: Width) -> u64 {
        self.card.read(offset, width)
    }

    fn write(&self, _: u8, offset: u64, width: Width, value: u64) {
        self.card.write(offset, width, value);
    }

    fn mapped(&self, bar: u8, at: Option<u64>) {
        if bar == registers::REGISTERS {
            self.card.mapped(at);
        }
    }

    fn bus_master(&self, on: bool) {
        self.card.set_bus_master(on);
    }
}

#[cfg(test)]
#[path = "device_test.rs"]
mod tests;

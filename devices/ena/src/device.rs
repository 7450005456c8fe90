//! `Ena`: the card as the machine and the PCI bus know it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use device_core::attendant::Attendant;
#[cfg(any(test, feature = "testing"))]
use device_core::attendant::Attended;
use device_core::bus::Width;
use device_core::device::{Device, Kit};
use device_core::interrupt::MsiSet;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use net::port::{NetPort, OpenError};
use net::spec::NicSpec;
use pci::device::{BarKind, BarSpec, Identity, PciDevice};

use crate::admin::events::Hints;
use crate::admin::llq;
use crate::card::Card;
use crate::registers::{self, Place};
use crate::ring::{Rx, Tx};

const VENDOR: u16 = 0x1d0f;
/// The virtual function, which every driver knows.
const DEVICE: u16 = 0xec20;
const CLASS_ETHERNET: u32 = 0x02_00_00;
/// Bit 0 clear: drivers read registers the readless way (2.3).
const REVISION: u8 = 0;

/// Why a card could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The network port could not be opened.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// The host has no vectors, memory or descriptors left.
    #[error("cannot get interrupts, memory or descriptors")]
    Resources(#[source] io::Error),
}

/// An Elastic Network Adapter.
pub struct Ena {
    /// Leaves before the card does.
    _attendant: Attendant<Card>,
    card: Arc<Card>,
    bars: Vec<BarSpec>,
}

impl Ena {
    /// Opens the backend of `spec` and starts the lanes' threads. Fails if the backend cannot be opened
    /// or the host lacks what the card needs.
    pub fn build(spec: &NicSpec, kit: &Kit<'_>) -> Result<Arc<Ena>, BuildError> {
        let port = NetPort::open(spec, kit)?;
        Ena::on_port(spec, port, kit).map_err(BuildError::Resources)
    }

    /// A card on a port that is open already; what `spec` says of backend, queues and limits is the
    /// port's. Its MTU must be within the bounds of the model. Fails if the host has no vectors, memory
    /// or descriptors left.
    pub fn on_port(spec: &NicSpec, port: NetPort<Tx, Rx>, kit: &Kit<'_>) -> io::Result<Arc<Ena>> {
        let mut bars = vec![BarSpec {
            index: registers::REGISTERS,
            kind: BarKind::Memory32,
            size: registers::SIZE,
        }];
        let window = if spec.llq.unwrap_or(true) {
            let size = llq::window_bytes(port.lanes());
            let kind = BarKind::Memory64 { prefetchable: true };
            bars.push(BarSpec { index: registers::LLQ, kind, size });
            Some(kit.windows.allocate(size)?)
        } else {
            None
        };
        let card = Card::new(spec, port, window, kit)?;
        let attendant = Attendant::start(&card, card.alarm.bell(), kit.threads.slow())?;
        Ok(Arc::new(Ena { _attendant: attendant, card, bars }))
    }

    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Advises the driver of other timeouts, by an event and for its next probe.
    pub fn advise(&self, hints: Hints) {
        self.card.advise(hints, Instant::now());
    }

    /// Returns after attendant and lanes have done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self._attendant.settle();
        self.card.port.settle();
    }

    /// What the attendant does when it is `now`.
    #[cfg(any(test, feature = "testing"))]
    pub fn tick(&self, now: Instant) {
        self.card.attend(now);
    }
}

impl Device for Ena {
    fn id(&self) -> &str {
        &self.card.id
    }

    fn start(&self) {
        self.card.set_started(true, Instant::now());
    }

    fn stop(&self) {
        self.card.set_started(false, Instant::now());
    }

    fn reset(&self) {
        self.card.power_on(Instant::now());
    }

    fn save(&self) -> Result<Saved, SaveError> {
        if self.card.is_at_rest() {
            self.card.to_saved()
        } else {
            Err(SaveError::Now(format!("network card {} is at work", self.card.id)))
        }
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        self.card.load_saved(saved)
    }
}

impl PciDevice for Ena {
    fn identity(&self) -> Identity {
        Identity {
            vendor: VENDOR,
            device: DEVICE,
            subsystem_vendor: VENDOR,
            subsystem: DEVICE,
            class: CLASS_ETHERNET,
            revision: REVISION,
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

    fn read(&self, bar: u8, offset: u64, width: Width) -> u64 {
        match Place::at(offset, width) {
            _ if bar == registers::LLQ => self.card.read_window(offset, width),
            Some(Place::Fixed(register)) => self.card.read_register(register).into(),
            _ => 0,
        }
    }

    fn write(&self, bar: u8, offset: u64, width: Width, value: u64) {
        let word = value as u32;
        match Place::at(offset, width) {
            _ if bar == registers::LLQ => self.card.write_window(offset, width, value),
            Some(Place::Fixed(register)) => {
                self.card.write_register(register, word, Instant::now());
            }
            Some(place) => self.card.doorbells.write(place, word),
            None => {}
        }
    }

    fn mapped(&self, bar: u8, at: Option<u64>) {
        match bar {
            registers::LLQ => self.card.place_window(at),
            registers::REGISTERS => self.card.doorbells.mapped(at),
            _ => {}
        }
    }

    fn bus_master(&self, on: bool) {
        self.card.set_bus_master(on, Instant::now());
    }
}

#[cfg(test)]
#[path = "device_test.rs"]
mod tests;

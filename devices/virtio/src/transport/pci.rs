//! `VirtioCard`: the PCI card around any [`VirtioDevice`] (virtio 1.2, 4.1).
//!
//! ```text
//! BAR 0   0x0000  common configuration      registers, behind the transport's lock
//!         0x1000  ISR status                atomic
//!         0x2000  device configuration      the device
//!         0x3000  notify, 4 bytes a queue   ioeventfd; a trapped write signals the same eventfd
//! BAR 4           MSI-X                     by the PCI function
//! ```
//! Interrupts are MSI-X only: the interrupt pin is 0, and the ISR status shows configuration
//! changes but no queue interrupts.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::bus::Width;
use device_core::device::{Device, Kit};
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::kick::{Binding, KickBinder};
use device_core::snapshot::{LoadError, SaveError, Saved};
use pci::device::{BarSpec, Capability, Identity, PciDevice};
use virtio_bindings::virtio_ids::{VIRTIO_ID_BLOCK, VIRTIO_ID_NET};

use super::common::{Look, Transport, queue_count};
use super::interrupts::{Interrupts, Vectors};
use super::structures::{self, Area, BAR, COMMON, NOTIFY_AT, NOTIFY_STEP, Window};
use crate::device::VirtioDevice;

/// What its state is called.
const KIND: &str = "virtio-pci";

const VENDOR: u16 = 0x1af4;
/// Device ids of modern virtio cards begin here (virtio 1.2, 4.1.2.1).
const DEVICE_BASE: u16 = 0x1040;
const CLASS_ETHERNET: u32 = 0x02_00_00;
/// Mass storage, of no further kind: drivers go by the device id.
const CLASS_STORAGE: u32 = 0x01_80_00;
const CLASS_UNASSIGNED: u32 = 0xff_00_00;

const MSIX_BAR: u8 = 4;

/// A virtio device in a PCI slot.
pub struct VirtioCard {
    transport: Arc<Transport>,
    vectors: Arc<Vectors>,
    bars: [BarSpec; 1],
    msi: Arc<dyn MsiSet>,
    binder: Arc<dyn KickBinder>,
    bindings: Mutex<Vec<Binding>>,
}

impl VirtioCard {
    /// A card with a vector for each queue and one for configuration changes. Fails if the device has
    /// too many queues, or the host no vectors or eventfds.
    pub fn new(device: Arc<dyn VirtioDevice>, kit: &Kit<'_>) -> io::Result<Arc<VirtioCard>> {
        let count = queue_count(&*device)?;
        let msi = kit.msi.allocate(count.saturating_add(1))?;
        let vectors = (0..msi.count()).filter_map(|index| msi.vector(index)).collect();
        let vectors = Arc::new(Vectors::new(vectors));
        let interrupts = Interrupts::Vectors(vectors.clone());
        Ok(Arc::new(VirtioCard {
            // A card is born without bus mastering.
            transport: Transport::new(device, kit.memory, interrupts, false)?,
            vectors,
            bars: [structures::bar(count)],
            msi,
            binder: kit.kicks.clone(),
            bindings: Mutex::default(),
        }))
    }

    /// What is the same on every bus.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// How many register writes came when they may not, or with a value that may not be.
    pub fn refused_writes(&self) -> u64 {
        self.transport.refused_writes()
    }

    /// What the driver has set up, at one moment.
    pub fn look(&self) -> Look {
        self.transport.look()
    }

    fn read_common(&self, offset: u64, width: Width) -> u64 {
        let read = |offset, width| {
            COMMON.find(offset, width).map_or(0, |register| self.transport.read(register).into())
        };
        match width {
            Width::B8 => read(offset, Width::B4) | read(offset.wrapping_add(4), Width::B4) << 32,
            _ => read(offset, width) & width.mask(),
        }
    }

    fn write_common(&self, offset: u64, width: Width, value: u64) {
        let write = |offset, width, value: u64| {
            if let Some(register) = COMMON.find(offset, width) {
                self.transport.write(register, (value & 0xffff_ffff) as u32);
            }
        };
        match width {
            Width::B8 => {
                write(offset, Width::B4, value);
                write(offset.wrapping_add(4), Width::B4, value >> 32);
            }
            _ => write(offset, width, value),
        }
    }

    fn bind_kicks(&self, notify_at: u64) -> io::Result<Vec<Binding>> {
        let addresses = (notify_at..).step_by(NOTIFY_STEP as usize);
        let kicks = self.transport.kicks();
        addresses.zip(kicks).map(|(at, kick)| self.binder.bind(at, kick)).collect()
    }
}

impl Device for VirtioCard {
    fn id(&self) -> &str {
        self.transport.device().id()
    }

    fn start(&self) {
        self.transport.start();
    }

    fn stop(&self) {
        self.transport.stop();
    }

    fn reset(&self) {
        self.transport.reset();
    }

    fn save(&self) -> Result<Saved, SaveError> {
        self.transport.save(KIND)
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        self.transport.load(KIND, saved)
    }
}

impl PciDevice for VirtioCard {
    fn identity(&self) -> Identity {
        let kind = self.transport.device().kind();
        let device = DEVICE_BASE.saturating_add(kind);
        let class = match u32::from(kind) {
            VIRTIO_ID_NET => CLASS_ETHERNET,
            VIRTIO_ID_BLOCK => CLASS_STORAGE,
            _ => CLASS_UNASSIGNED,
        };
        Identity {
            vendor: VENDOR,
            device,
            subsystem_vendor: VENDOR,
            subsystem: device,
            class,
            revision: 1,
        }
    }

    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    fn capabilities(&self) -> Vec<Capability> {
        structures::capabilities(self.transport.queue_count())
    }

    fn msix(&self) -> Option<&Arc<dyn MsiSet>> {
        Some(&self.msi)
    }

    fn msix_bar(&self) -> u8 {
        MSIX_BAR
    }

    fn read(&self, _bar: u8, offset: u64, width: Width) -> u64 {
        match Area::at(offset, width) {
            Some((Area::Common, within)) => self.read_common(within, width),
            Some((Area::Isr, 0)) => self.vectors.take_isr().into(),
            Some((Area::Device, within)) => self.transport.device().read_config(within, width),
            _ => 0,
        }
    }

    fn write(&self, _bar: u8, offset: u64, width: Width, value: u64) {
        match Area::at(offset, width) {
            Some((Area::Common, within)) => self.write_common(within, width, value),
            Some((Area::Device, within)) => {
                self.transport.device().write_config(within, width, value);
            }
            Some((Area::Notify, within)) => self.transport.notify(within / NOTIFY_STEP),
            _ => {}
        }
    }

    fn mapped(&self, bar: u8, at: Option<u64>) {
        let mut bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        bindings.clear();
        let Some(notify_at) = at.filter(|_| bar == BAR).and_then(|at| at.checked_add(NOTIFY_AT))
        else {
            return;
        };
        match self.bind_kicks(notify_at) {
            Ok(bound) => *bindings = bound,
            // Then each kick is a trapped write: slower, but none is lost.
            Err(error) => {
                let (log, id) = (self.transport.log(), self.transport.device().id());
                guest_warn!(log, "kicks of {id} cannot be bound: {error}");
            }
        }
    }

    fn bus_master(&self, on: bool) {
        self.transport.allow_dma(on);
    }

    fn capability_read(&self, index: usize, offset: u8, _: Width, body: &[u8]) -> Option<u64> {
        let [bar] = &self.bars;
        let (at, width) = Window::of(index, offset, body)?.target(bar)?;
        Some(self.read(BAR, at, width))
    }

    fn capability_written(&self, index: usize, offset: u8, _: Width, body: &[u8]) {
        let [bar] = &self.bars;
        let Some(window) = Window::of(index, offset, body) else { return };
        if let Some((at, width)) = window.target(bar) {
            self.write(BAR, at, width, window.data(width));
        }
    }
}

#[cfg(test)]
#[path = "pci_test.rs"]
mod tests;

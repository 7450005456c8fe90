//! `VirtioCard`: the PCI card around any [`VirtioDevice`].
//!
//! ```text
//! BAR 0   0x0000  common configuration      registers, behind the `life` lock
//!         0x1000  ISR status                bulletin
//!         0x2000  device configuration      the device
//!         0x3000  notify, 4 bytes a queue   ioeventfd; a trapped write signals the same eventfd
//! BAR 4           MSI-X                     by the PCI function
//! ```
//! Interrupts are MSI-X only: the interrupt pin is 0, and the ISR status shows configuration
//! changes but no queue interrupts.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::counters::SharedCounter;
use device_core::device::{Device, Kit};
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::kick::{Binding, KickBinder};
use pci::device::{BarSpec, Capability, Identity, PciDevice};
use virtio_bindings::virtio_ids::{VIRTIO_ID_BLOCK, VIRTIO_ID_NET};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::notice::{self, Bulletin};
use super::queue::{QueueFault, QueueRegisters};
use super::registers::{Asked, COMMON, Registers};
use super::structures::{self, Area, BAR, NOTIFY_AT, NOTIFY_STEP, Window};
use crate::device::{LiveQueue, Notice, VirtioDevice};

const VENDOR: u16 = 0x1af4;
/// Device ids of modern virtio cards begin here (virtio 1.2, 4.1.2.1).
const DEVICE_BASE: u16 = 0x1040;
const CLASS_ETHERNET: u32 = 0x02_00_00;
/// Mass storage, of no further kind: drivers go by the device id.
const CLASS_STORAGE: u32 = 0x01_80_00;
const CLASS_UNASSIGNED: u32 = 0xff_00_00;

const MSIX_BAR: u8 = 4;
/// Where the index is in an available ring (virtio 1.2, 2.7.6).
const AVAILABLE_INDEX: u64 = 2;

/// A virtio device in a PCI slot.
pub struct VirtioCard {
    device: Arc<dyn VirtioDevice>,
    memory: GuestRam,
    bars: [BarSpec; 1],
    msi: Arc<dyn MsiSet>,
    binder: Arc<dyn KickBinder>,
    queue_count: u16,
    /// One per queue, for as long as the card lives.
    kicks: Vec<Arc<EventFd>>,
    bindings: Mutex<Vec<Binding>>,
    bulletin: Arc<Bulletin>,
    life: Mutex<Life>,
    refused_writes: SharedCounter,
    log: LogLimit,
}

/// What a driver has set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// As negotiated.
    pub features: u64,
    /// The driver said DRIVER_OK, and the device took its queues.
    pub is_running: bool,
    /// The device gave up: DEVICE_NEEDS_RESET is set in its status.
    pub needs_reset: bool,
    /// Those that the driver enabled.
    pub queues: Vec<QueueLook>,
}

/// One queue that the driver enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLook {
    /// Number of the queue, from 0.
    pub index: u16,
    /// Entries of its ring, as the driver set it.
    pub entries: u16,
    /// The available index, if it is in RAM.
    pub offered: Option<u16>,
    /// Its MSI-X vector; `None` for VIRTIO_MSI_NO_VECTOR.
    pub vector: Option<u16>,
}

/// What is held while queues are plugged and unplugged, so that this happens one at a time. Device
/// threads never take it: their way is the [`Bulletin`].
struct Life {
    registers: Registers,
    queues: Queues,
    started: bool,
    bus_master: bool,
}

/// Where the queues are, after DRIVER_OK.
enum Queues {
    None,
    /// Here, while the card is stopped or no bus master.
    Home(Vec<LiveQueue>),
    Plugged,
}

impl VirtioCard {
    /// A card with a vector for each queue and one for configuration changes. Fails if the device has
    /// too many queues, or the host no vectors or eventfds.
    pub fn new(device: Arc<dyn VirtioDevice>, kit: &Kit) -> io::Result<Arc<VirtioCard>> {
        let sizes = device.queue_sizes();
        let too_many = || {
            let message = format!("{} has {} queues, too many", device.id(), sizes.len());
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let count = u16::try_from(sizes.len()).map_err(|_| too_many())?;
        let msi = kit.msi.allocate(count.checked_add(1).ok_or_else(too_many)?)?;
        let vectors = (0..msi.count()).filter_map(|index| msi.vector(index)).collect();
        let bulletin = Arc::new(Bulletin::new(vectors));
        let kicks = (0..count)
            .map(|_| Ok(Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?)))
            .collect::<io::Result<_>>()?;
        Ok(Arc::new(VirtioCard {
            memory: kit.memory.clone(),
            bars: [structures::bar(count)],
            msi,
            binder: kit.kicks.clone(),
            queue_count: count,
            kicks,
            bindings: Mutex::default(),
            life: Mutex::new(Life {
                registers: Registers::new(device.features(), sizes, bulletin.clone()),
                queues: Queues::None,
                started: true,
                bus_master: false,
            }),
            bulletin,
            refused_writes: SharedCounter::default(),
            log: LogLimit::default(),
            device,
        }))
    }

    /// How many register writes came when they may not, or with a value that may not be.
    pub fn refused_writes(&self) -> u64 {
        self.refused_writes.get()
    }

    /// What the driver has set up, at one moment.
    pub fn look(&self) -> Look {
        let life = self.life();
        let registers = &life.registers;
        let queues = registers.enabled_queues().map(|(index, queue, _)| {
            let at = GuestAddress(queue.available.saturating_add(AVAILABLE_INDEX));
            let vector = Some(queue.vector).filter(|vector| *vector != notice::NO_VECTOR);
            let offered = self.memory.load(at, Ordering::Relaxed).ok().map(u16::from_le);
            QueueLook { index, entries: queue.size, offered, vector }
        });
        Look {
            features: registers.features(),
            is_running: matches!(life.queues, Queues::Home(_) | Queues::Plugged),
            needs_reset: self.bulletin.is_reset_needed(),
            queues: queues.collect(),
        }
    }

    fn read_common(&self, offset: u64, width: Width) -> u64 {
        let life = self.life();
        let read = |offset, width| {
            COMMON.find(offset, width).map_or(0, |register| life.registers.read(register).into())
        };
        match width {
            Width::B8 => read(offset, Width::B4) | read(offset.wrapping_add(4), Width::B4) << 32,
            _ => read(offset, width),
        }
    }

    fn write_common(&self, offset: u64, width: Width, value: u64) {
        let life = &mut *self.life();
        let mut write = |offset, width, value: u64| {
            if let Some(register) = COMMON.find(offset, width) {
                let asked = life.registers.write(register, (value & 0xffff_ffff) as u32);
                self.answer(asked, life);
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

    fn answer(&self, asked: Asked, life: &mut Life) {
        match asked {
            Asked::Nothing => {}
            Asked::Refused => drop(self.refused_writes.increment()),
            Asked::Reset => self.reset_device(life),
            Asked::Run => self.run(life),
            Asked::GiveUp => self.drop_queues(life),
        }
    }

    /// Builds the live queues from the registers and plugs them, as soon as the card may do DMA.
    fn run(&self, life: &mut Life) {
        match self.live_queues(&life.registers) {
            Ok(queues) => {
                life.queues = Queues::Home(queues);
                self.settle(life);
            }
            Err(fault) => {
                guest_warn!(self.log, "{} needs a reset: {fault}", self.device.id());
                self.bulletin.needs_reset();
            }
        }
    }

    fn live_queues(&self, registers: &Registers) -> Result<Vec<LiveQueue>, QueueFault> {
        let live = |(index, queue, max): (u16, &QueueRegisters, u16)| {
            let kick = self.kicks.get(usize::from(index))?.clone();
            let irq = self.bulletin.vector(queue.vector).cloned();
            let ring = queue.ring(index, max, registers.event_idx(), &self.memory);
            Some(ring.map(|ring| LiveQueue { index, ring, kick, irq }))
        };
        registers.enabled_queues().filter_map(live).collect()
    }

    /// Brings the queues to where they belong: with the device while the card may do DMA, home
    /// otherwise.
    fn settle(&self, life: &mut Life) {
        let may_run = life.started && life.bus_master;
        life.queues = match std::mem::replace(&mut life.queues, Queues::None) {
            Queues::Home(queues) if may_run => {
                let notice: Arc<dyn Notice> = self.bulletin.clone();
                match self.device.plug(life.registers.features(), queues, notice) {
                    Ok(()) => Queues::Plugged,
                    Err(error) => {
                        guest_warn!(self.log, "{} needs a reset: {error}", self.device.id());
                        self.bulletin.needs_reset();
                        Queues::None
                    }
                }
            }
            Queues::Plugged if !may_run => Queues::Home(self.device.unplug()),
            unchanged => unchanged,
        };
    }

    fn drop_queues(&self, life: &mut Life) {
        if let Queues::Plugged = std::mem::replace(&mut life.queues, Queues::None) {
            drop(self.device.unplug());
        }
    }

    fn reset_device(&self, life: &mut Life) {
        self.drop_queues(life);
        self.device.reset();
        life.registers.reset();
    }

    fn notify(&self, offset: u64) {
        let queue = usize::try_from(offset / NOTIFY_STEP).unwrap_or(usize::MAX);
        if let Some(kick) = self.kicks.get(queue) {
            // A full counter refuses more, and is readable as it is.
            drop(kick.write(1));
        }
    }

    fn bind_kicks(&self, notify_at: u64) -> io::Result<Vec<Binding>> {
        let addresses = (notify_at..).step_by(NOTIFY_STEP as usize);
        addresses.zip(&self.kicks).map(|(at, kick)| self.binder.bind(at, kick)).collect()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for VirtioCard {
    fn id(&self) -> &str {
        self.device.id()
    }

    fn start(&self) {
        let mut life = self.life();
        life.started = true;
        self.settle(&mut life);
    }

    fn stop(&self) {
        let mut life = self.life();
        life.started = false;
        self.settle(&mut life);
    }

    fn reset(&self) {
        let mut life = self.life();
        self.reset_device(&mut life);
        life.bus_master = false;
    }
}

impl PciDevice for VirtioCard {
    fn identity(&self) -> Identity {
        let kind = self.device.kind();
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
        structures::capabilities(self.queue_count)
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
            Some((Area::Isr, 0)) => self.bulletin.take_isr().into(),
            Some((Area::Device, within)) => self.device.read_config(within, width),
            _ => 0,
        }
    }

    fn write(&self, _bar: u8, offset: u64, width: Width, value: u64) {
        match Area::at(offset, width) {
            Some((Area::Common, within)) => self.write_common(within, width, value),
            Some((Area::Device, within)) => self.device.write_config(within, width, value),
            Some((Area::Notify, within)) => self.notify(within),
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
                guest_warn!(self.log, "kicks of {} cannot be bound: {error}", self.device.id());
            }
        }
    }

    fn bus_master(&self, on: bool) {
        let mut life = self.life();
        life.bus_master = on;
        self.settle(&mut life);
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

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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::counters::SharedCounter;
use device_core::device::{Device, Kit};
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::MsiSet;
use device_core::kick::{Binding, KickBinder};
use pci::device::{BarKind, BarSpec, Capability, Identity, PciDevice};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::notice::Bulletin;
use super::queue::{QueueFault, QueueRegisters};
use super::registers::{Asked, COMMON, COMMON_LEN, Registers};
use crate::device::{LiveQueue, Notice, VirtioDevice};

const VENDOR: u16 = 0x1af4;
/// Device ids of modern virtio cards begin here (virtio 1.2, 4.1.2.1).
const DEVICE_BASE: u16 = 0x1040;
const CLASS_ETHERNET: u32 = 0x02_00_00;
const CLASS_UNASSIGNED: u32 = 0xff_00_00;

const BAR: u8 = 0;
const MSIX_BAR: u8 = 4;

// Each structure has a page to itself, so that one can be mapped apart from the others.
const COMMON_AT: u64 = 0;
const ISR_AT: u64 = 0x1000;
const DEVICE_AT: u64 = 0x2000;
const NOTIFY_AT: u64 = 0x3000;
const PAGE: u64 = 0x1000;
const NOTIFY_STEP: u64 = 4;

const VENDOR_CAPABILITY: u8 = 0x09;
// Types of structures, VIRTIO_PCI_CAP_* (virtio 1.2, 4.1.4).
const CAP_COMMON: u8 = 1;
const CAP_NOTIFY: u8 = 2;
const CAP_ISR: u8 = 3;
const CAP_DEVICE: u8 = 4;
const CAP_PCI: u8 = 5;
/// Number of the PCI configuration access capability in [`VirtioCard::capabilities`].
const WINDOW: usize = 4;
/// Offset of `pci_cfg_data` in that capability's body.
const WINDOW_DATA: u8 = 14;

/// A virtio device in a PCI slot.
pub struct VirtioCard {
    device: Arc<dyn VirtioDevice>,
    memory: GuestRam,
    bars: [BarSpec; 1],
    msi: Arc<dyn MsiSet>,
    binder: Arc<dyn KickBinder>,
    /// One per queue, for as long as the card lives.
    kicks: Vec<Arc<EventFd>>,
    bindings: Mutex<Vec<Binding>>,
    bulletin: Arc<Bulletin>,
    life: Mutex<Life>,
    refused_writes: SharedCounter,
    log: LogLimit,
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
    /// A card with a vector for each queue and one for configuration changes.
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
        let size = NOTIFY_AT
            .saturating_add(u64::from(count).saturating_mul(NOTIFY_STEP))
            .next_power_of_two();
        Ok(Arc::new(VirtioCard {
            memory: kit.memory.clone(),
            bars: [BarSpec { index: BAR, kind: BarKind::Memory64 { prefetchable: false }, size }],
            msi,
            binder: kit.kicks.clone(),
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
        let queues = u32::try_from(self.kicks.len()).unwrap_or_default();
        let step = NOTIFY_STEP as u32;
        let mut notify = structure(CAP_NOTIFY, NOTIFY_AT, queues.saturating_mul(step));
        extend(&mut notify, &step.to_le_bytes());
        let mut window = structure(CAP_PCI, 0, 0);
        extend(&mut window, &[0; 4]);
        window.writable = vec![false; window.body.len()];
        // BAR, offset, length and data are the driver's.
        for range in [2..3, 6..18] {
            window.writable.get_mut(range).unwrap_or_default().fill(true);
        }
        vec![
            structure(CAP_COMMON, COMMON_AT, COMMON_LEN),
            notify,
            structure(CAP_ISR, ISR_AT, 1),
            structure(CAP_DEVICE, DEVICE_AT, PAGE as u32),
            window,
        ]
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
        let (at, width) = Window::of(index, offset, body)?.target(&self.bars)?;
        Some(self.read(BAR, at, width))
    }

    fn capability_written(&self, index: usize, offset: u8, _: Width, body: &[u8]) {
        let Some(window) = Window::of(index, offset, body) else { return };
        if let Some((at, width)) = window.target(&self.bars) {
            self.write(BAR, at, width, u64::from(window.data) & width.mask());
        }
    }
}

/// The structures in the BAR.
enum Area {
    Common,
    Isr,
    Device,
    Notify,
}

impl Area {
    /// The structure that holds the whole access, and the offset in it.
    fn at(offset: u64, width: Width) -> Option<(Area, u64)> {
        let last = offset.checked_add(width.bytes())?.checked_sub(1)?;
        let (area, start, end) = match offset {
            NOTIFY_AT.. => (Area::Notify, NOTIFY_AT, u64::MAX),
            DEVICE_AT.. => (Area::Device, DEVICE_AT, NOTIFY_AT),
            ISR_AT.. => (Area::Isr, ISR_AT, DEVICE_AT),
            COMMON_AT.. => (Area::Common, COMMON_AT, ISR_AT),
        };
        Some((area, offset.checked_sub(start)?)).filter(|_| last < end)
    }
}

/// The PCI configuration access capability, as the driver set it: a way into the BAR for those who
/// cannot map it (virtio 1.2, 4.1.4.9).
struct Window {
    bar: u8,
    offset: u32,
    length: u32,
    data: u32,
}

impl Window {
    /// If an access at `offset` of capability number `index` touches the data register.
    fn of(index: usize, offset: u8, body: &[u8]) -> Option<Window> {
        let word = |at: usize| {
            let bytes = body.get(at..at.checked_add(4)?)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        if index != WINDOW || offset != WINDOW_DATA {
            return None;
        }
        let data = word(usize::from(WINDOW_DATA))?;
        Some(Window { bar: *body.get(2)?, offset: word(6)?, length: word(10)?, data })
    }

    /// Where in the BAR it points to, and how wide; nowhere if it is not set as it must be.
    fn target(&self, bars: &[BarSpec]) -> Option<(u64, Width)> {
        let bar = bars.iter().find(|bar| bar.index == self.bar)?;
        let width = Width::of(self.length.try_into().ok()?).filter(|&width| width != Width::B8)?;
        let offset = u64::from(self.offset);
        let end = offset.checked_add(width.bytes())?;
        (offset.is_multiple_of(width.bytes()) && end <= bar.size).then_some((offset, width))
    }
}

/// A capability that says where a structure is (virtio 1.2, 4.1.4).
fn structure(kind: u8, offset: u64, length: u32) -> Capability {
    let mut capability =
        Capability { id: VENDOR_CAPABILITY, body: vec![0, kind, BAR, 0, 0, 0], writable: vec![] };
    extend(&mut capability, &(offset as u32).to_le_bytes());
    extend(&mut capability, &length.to_le_bytes());
    capability
}

/// Appends to a capability and keeps its length byte right, which counts the two bytes before the
/// body.
fn extend(capability: &mut Capability, bytes: &[u8]) {
    capability.body.extend_from_slice(bytes);
    let length = u8::try_from(capability.body.len()).unwrap_or(u8::MAX).saturating_add(2);
    if let Some(first) = capability.body.first_mut() {
        *first = length;
    }
}

#[cfg(test)]
#[path = "pci_test.rs"]
mod tests;

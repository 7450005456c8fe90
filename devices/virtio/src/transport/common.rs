//! `Transport`: what a virtio device stands on, whatever the bus: registers, queues, kicks.
//!
//! ```text
//! pci.rs   capabilities, BAR, MSI-X   ─┐
//!                                      ├─► Transport ─► device
//! mmio.rs  one page, one line         ─┘
//! ```

pub mod saved;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::counters::SharedCounter;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::interrupts::{Interrupts, NO_VECTOR};
use super::notice::Bulletin;
use super::queue::{QueueFault, QueueRegisters};
use super::registers::{Asked, Register, Registers};
use crate::device::{LiveQueue, Notice, VirtioDevice};

/// Where the index is in an available ring (virtio 1.2, 2.7.6).
const AVAILABLE_INDEX: u64 = 2;

/// A virtio device behind its registers.
///
/// Queues are with the device while three things hold: the driver said DRIVER_OK, the machine has not
/// stopped the device, and the bus lets it do DMA.
pub struct Transport {
    device: Arc<dyn VirtioDevice>,
    memory: GuestRam,
    /// One per queue, for as long as the device lives.
    kicks: Vec<Arc<EventFd>>,
    bulletin: Arc<Bulletin>,
    life: Mutex<Life>,
    /// Whether the bus lets a device do DMA that nobody has touched yet.
    may_do_dma: bool,
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
    /// Its MSI-X vector; `None` for VIRTIO_MSI_NO_VECTOR, or where there are no vectors.
    pub vector: Option<u16>,
}

/// What is held while queues are plugged and unplugged, so that this happens one at a time. Device
/// threads never take it: their way is the [`Bulletin`].
struct Life {
    registers: Registers,
    queues: Queues,
    started: bool,
    may_do_dma: bool,
    /// The queues were another process's: what their driver offered meanwhile it will not tell of again.
    comes_back: bool,
}

/// Where the queues are, after DRIVER_OK.
enum Queues {
    None,
    /// Here, while the device is stopped or may do no DMA.
    Home(Vec<LiveQueue>),
    Plugged,
}

/// How many queues the device has. Fails if that is more than a driver can name.
pub fn queue_count(device: &dyn VirtioDevice) -> io::Result<u16> {
    let count = device.queue_sizes().len();
    u16::try_from(count).ok().filter(|&count| count < NO_VECTOR).ok_or_else(|| {
        let message = format!("{} has {count} queues, too many", device.id());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

impl Transport {
    /// A device that no driver has touched yet. Fails if it has too many queues, or the host no
    /// eventfds.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        memory: &GuestRam,
        interrupts: Interrupts,
        may_do_dma: bool,
    ) -> io::Result<Arc<Transport>> {
        let bulletin = Arc::new(Bulletin::new(interrupts));
        let kicks = (0..queue_count(&*device)?)
            .map(|_| Ok(Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?)))
            .collect::<io::Result<_>>()?;
        let registers = Registers::new(device.features(), device.queue_sizes(), bulletin.clone());
        let life =
            Life { registers, queues: Queues::None, started: true, may_do_dma, comes_back: false };
        Ok(Arc::new(Transport {
            memory: memory.clone(),
            kicks,
            bulletin,
            life: Mutex::new(life),
            may_do_dma,
            refused_writes: SharedCounter::default(),
            log: LogLimit::default(),
            device,
        }))
    }

    /// What stands on it.
    pub fn device(&self) -> &dyn VirtioDevice {
        &*self.device
    }

    /// How many queues it has.
    pub fn queue_count(&self) -> u16 {
        u16::try_from(self.kicks.len()).unwrap_or(u16::MAX)
    }

    /// What the notifications of each queue signal.
    pub fn kicks(&self) -> &[Arc<EventFd>] {
        &self.kicks
    }

    /// Where lines go that a guest can cause.
    pub fn log(&self) -> &LogLimit {
        &self.log
    }

    /// How many register writes came when they may not, or with a value that may not be.
    pub fn refused_writes(&self) -> u64 {
        self.refused_writes.get()
    }

    /// Counts one.
    pub fn refuse(&self) {
        self.refused_writes.increment();
    }

    /// What the driver has set up, at one moment.
    pub fn look(&self) -> Look {
        let life = self.life();
        let registers = &life.registers;
        let queues = registers.enabled_queues().map(|(index, queue, _)| {
            let at = GuestAddress(queue.available.saturating_add(AVAILABLE_INDEX));
            let vector = Some(queue.vector).filter(|vector| *vector != NO_VECTOR);
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

    /// What a register shows.
    pub fn read(&self, register: Register) -> u32 {
        self.life().registers.read(register)
    }

    /// The driver's write, with all that comes of it.
    pub fn write(&self, register: Register, value: u32) {
        let life = &mut *self.life();
        match life.registers.write(register, value) {
            Asked::Nothing => {}
            Asked::Refused => self.refuse(),
            Asked::Reset => self.reset_device(life),
            Asked::Run => self.run(life),
            Asked::GiveUp => self.drop_queues(life),
        }
    }

    /// A notification that was trapped; signals what one that was not does.
    pub fn notify(&self, queue: u64) {
        let kick = usize::try_from(queue).ok().and_then(|queue| self.kicks.get(queue));
        match kick {
            // A full counter refuses more, and is readable as it is.
            Some(kick) => drop(kick.write(1)),
            None => self.refuse(),
        }
    }

    /// The bus lets the device do DMA from now on, or no longer.
    pub fn allow_dma(&self, on: bool) {
        let mut life = self.life();
        life.may_do_dma = on;
        self.settle(&mut life);
    }

    /// The machine goes on.
    pub fn start(&self) {
        let mut life = self.life();
        life.started = true;
        self.settle(&mut life);
    }

    /// The machine stops: all queues come home.
    pub fn stop(&self) {
        let mut life = self.life();
        life.started = false;
        self.settle(&mut life);
    }

    /// As after power-on.
    pub fn reset(&self) {
        let mut life = self.life();
        self.reset_device(&mut life);
        life.may_do_dma = self.may_do_dma;
    }

    /// Builds the live queues from the registers and plugs them, as soon as the device may do DMA.
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
            let irq = self.bulletin.interrupts().of_queue(queue.vector);
            let ring = queue.ring(index, max, registers.event_idx(), &self.memory);
            Some(ring.map(|ring| LiveQueue { index, ring, kick, irq }))
        };
        registers.enabled_queues().filter_map(live).collect()
    }

    /// Brings the queues to where they belong: with the device while it may do DMA, home otherwise.
    fn settle(&self, life: &mut Life) {
        let may_run = life.started && life.may_do_dma;
        life.queues = match std::mem::replace(&mut life.queues, Queues::None) {
            Queues::Home(queues) if may_run => {
                if std::mem::take(&mut life.comes_back) {
                    // Cannot fail but by overflow, and then it is readable already.
                    queues.iter().for_each(|queue| drop(queue.kick.write(1)));
                }
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

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Interrupts by irqfd: lines of the board, and MSI vectors with their routes.
//!
//! A masked vector is one without irqfd: its fires stay in the eventfd, which is thus its pending
//! bit, and KVM looks at the eventfd when the irqfd comes back. `fire` never asks about a mask.

use arch::layout::{FIRST_MSI_GSI, IOAPIC_PINS};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::interrupt::{
    Interrupt, IrqLine, MsiController, MsiMessage, MsiSet, MsiVector, Route,
};
use device_core::kick::borrow;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Pins of the two PICs together.
const PIC_PINS: u32 = 16;
/// Routes that KVM holds per VM.
const MAX_GSI: u32 = 4096;

fn new_event() -> io::Result<EventFd> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
}

/// An eventfd that cannot be written is full, and then the interrupt is on its way already.
fn signal(event: &EventFd) {
    let _ = event.write(1);
}

/// The lines of one VM that somebody has.
#[derive(Clone)]
pub struct Lines {
    vm: Arc<VmFd>,
    given: Arc<Mutex<Vec<Arc<Line>>>>,
}

impl Lines {
    /// None is given out yet.
    pub fn new(vm: Arc<VmFd>) -> Lines {
        Lines { vm, given: Arc::default() }
    }

    /// The line of `gsi`, which is to be asked for once. Fails if KVM or the host refuses.
    pub fn line(&self, gsi: u32) -> io::Result<Arc<Line>> {
        let event = new_event()?;
        self.vm.register_irqfd(&event, gsi)?;
        let line = Arc::new(Line { event, gsi });
        self.lock().push(line.clone());
        Ok(line)
    }

    /// Returns once each pulse so far is in the interrupt controllers: KVM brings those of lines there by a
    /// thread of its own, and waits for it only when it lets go of the descriptor. Nobody pulses meanwhile. Fails
    /// if KVM refuses.
    pub fn settle(&self) -> io::Result<()> {
        for line in self.lock().iter() {
            self.vm.unregister_irqfd(&line.event, line.gsi)?;
            self.vm.register_irqfd(&line.event, line.gsi)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pin of the IOAPIC.
pub struct Line {
    event: EventFd,
    gsi: u32,
}

impl IrqLine for Line {
    fn pulse(&self) {
        signal(&self.event);
    }
}

/// The routes of one VM, and the numbers that are still free.
pub struct Msi(Arc<Routing>);

struct Routing {
    vm: Arc<VmFd>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// GSIs that are given out: the first of each set, and their number.
    sets: BTreeMap<u32, u32>,
    msi: BTreeMap<u32, MsiMessage>,
}

impl Table {
    /// Takes the lowest `count` GSIs in a row that nobody has; the first of them.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut first = FIRST_MSI_GSI;
        for (&taken, &len) in &self.sets {
            if taken - first >= count {
                break;
            }
            first = taken + len;
        }
        let end = first.checked_add(count)?;
        (end <= MAX_GSI).then(|| {
            self.sets.insert(first, count);
            first
        })
    }
}

impl Msi {
    /// No vectors given out; GSIs count from the first behind the pins.
    pub fn new(vm: Arc<VmFd>) -> Msi {
        Msi(Arc::new(Routing { vm, table: Mutex::default() }))
    }
}

impl MsiController for Msi {
    fn allocate(&self, count: u16) -> io::Result<Arc<dyn MsiSet>> {
        let events = (0..count).map(|_| new_event()).collect::<io::Result<Vec<_>>>()?;
        // A set of none would not have a number of its own.
        let first = self.0.lock().take(u32::from(count).max(1));
        let first = first.ok_or_else(|| io::Error::other("the VM has no interrupt routes left"))?;
        let vectors =
            (first..).zip(events).map(|(gsi, event)| Arc::new(Vector { event, gsi })).collect();
        let attached = Mutex::new(vec![false; count.into()]);
        Ok(Arc::new(Set { routing: self.0.clone(), first, vectors, attached }))
    }
}

impl Routing {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `changes` into the table, and hands it to KVM if it has changed: KVM takes only whole tables.
    fn set(&self, changes: impl Iterator<Item = (u32, MsiMessage)>) -> io::Result<()> {
        let mut table = self.lock();
        let mut changed = false;
        for (gsi, message) in changes {
            changed |= table.msi.insert(gsi, message) != Some(message);
        }
        if !changed {
            return Ok(());
        }
        let entries: Vec<_> = board_routes()
            .chain(table.msi.iter().map(|(&gsi, &message)| msi_route(gsi, message)))
            .collect();
        let routing = KvmIrqRouting::from_entries(&entries)
            .map_err(|_| io::Error::other("the table of interrupt routes is too large"))?;
        Ok(self.vm.set_gsi_routing(&routing)?)
    }
}

/// What KVM has by default: the pins of IOAPIC and PICs.
fn board_routes() -> impl Iterator<Item = kvm_irq_routing_entry> {
    let chip_route = |gsi, irqchip, pin| {
        let mut entry =
            kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        entry
    };
    let ioapic = (0..IOAPIC_PINS).map(move |pin| chip_route(pin, KVM_IRQCHIP_IOAPIC, pin));
    let pic = (0..PIC_PINS).map(move |pin| match pin {
        0..8 => chip_route(pin, KVM_IRQCHIP_PIC_MASTER, pin),
        _ => chip_route(pin, KVM_IRQCHIP_PIC_SLAVE, pin - 8),
    });
    ioapic.chain(pic)
}

fn msi_route(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    entry.u.msi = kvm_irq_routing_msi {
        address_lo: message.address as u32,
        address_hi: (message.address >> 32) as u32,
        data: message.data,
        ..Default::default()
    };
    entry
}

struct Vector {
    event: EventFd,
    gsi: u32,
}

impl Interrupt for Vector {
    fn fire(&self) {
        signal(&self.event);
    }

    fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        Some(borrow(&self.event))
    }
}

impl MsiVector for Vector {
    fn is_pending(&self) -> bool {
        let fd = self.event.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, and no wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }
}

/// Vectors of one card; their GSIs are free again once it is dropped.
struct Set {
    routing: Arc<Routing>,
    first: u32,
    vectors: Vec<Arc<Vector>>,
    attached: Mutex<Vec<bool>>,
}

impl MsiSet for Set {
    fn count(&self) -> u16 {
        self.vectors.len() as u16 // allocated as a u16
    }

    fn vector(&self, index: u16) -> Option<Arc<dyn MsiVector>> {
        let vector = self.vectors.get(usize::from(index))?;
        Some(vector.clone())
    }

    fn route(&self, changes: &[Route]) -> io::Result<()> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            |change: &Route| Some((self.vectors.get(usize::from(change.index))?, change.to));
        // Off first, so that no vector fires to its old place with a new route half known.
        for (vector, _) in changes.iter().filter_map(known).filter(|(_, to)| to.is_none()) {
            let attached = &mut attached[(vector.gsi - self.vectors[0].gsi) as usize];
            if std::mem::take(attached) {
                self.routing.vm.unregister_irqfd(&vector.event, vector.gsi)?;
            }
        }
        let routed = || changes.iter().filter_map(known).filter_map(|(v, to)| Some((v, to?)));
        self.routing.set(routed().map(|(vector, message)| (vector.gsi, message)))?;
        for (vector, _) in routed() {
            let attached = &mut attached[(vector.gsi - self.vectors[0].gsi) as usize];
            if !*attached {
                self.routing.vm.register_irqfd(&vector.event, vector.gsi)?;
                *attached = true;
                // KVM has looked at what was pending and delivers it, but leaves the count. Fires
                // from now on are taken by KVM itself, so what is left to read is old.
                let _ = vector.event.read();
            }
        }
        Ok(())
    }

    fn target(&self, index: u16) -> Option<MsiMessage> {
        let gsi = self.vectors.get(usize::from(index))?.gsi;
        self.routing.lock().msi.get(&gsi).copied()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let off: Vec<_> = (0..self.count()).map(|index| Route { index, to: None }).collect();
        if let Err(error) = self.route(&off) {
            tracing::error!("cannot take back a card's interrupts: {error}");
            // Nobody else may get them.
            return;
        }
        let mut table = self.routing.lock();
        let count = table.sets.remove(&self.first).unwrap_or_default();
        // KVM forgets them with the next table; nothing fires to them.
        table.msi.retain(|gsi, _| !(self.first..self.first + count).contains(gsi));
    }
}

#[cfg(test)]
#[path = "irq_test.rs"]
mod tests;

//! Rings that are lent to whoever moves frames without a lane: the host's kernel (vhost).

use std::io;
use std::sync::Arc;

use device_core::interrupt::Interrupt;
use device_core::memory::slice;
use device_core::{GuestRam, Ram};
use vmm_sys_util::eventfd::EventFd;

/// Where a driver has put a split ring (virtio 1.2, 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Entries, a power of two.
    pub entries: u16,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
}

/// A ring, as whoever borrows it needs it.
pub struct Ring {
    /// Entries.
    pub entries: u16,
    /// The available entry to begin with.
    pub next: u16,
    /// Where its parts are in this process: each all of one piece, for as long as the memory is mapped.
    pub(crate) parts: Parts,
    /// Signalled by the guest's notifications.
    pub kick: Arc<EventFd>,
    /// Interrupts the guest, by its eventfd alone, if it wants to be.
    pub call: Option<Arc<dyn Interrupt>>,
}

/// Addresses in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

/// The rings of one pair.
pub struct Rings {
    /// Features as negotiated with the driver.
    pub features: u64,
    /// All memory that rings may lead to.
    pub memory: GuestRam,
    /// What the guest receives by.
    pub rx: Option<Ring>,
    /// What it sends by.
    pub tx: Option<Ring>,
    /// Called once a ring was found impossible; it may not call the port.
    pub broken: Box<dyn Fn() + Send>,
}

/// Where the rings of a pair stood when they were given back: the available entry that comes next, of each that was
/// lent and tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of what the guest receives by.
    pub rx: Option<u16>,
    /// Of what it sends by.
    pub tx: Option<u16>,
}

/// Who takes rings whole. All is done on the lane's thread.
pub trait Borrower {
    /// Takes the rings over; frames pass if `passes`. Fails if it has some already, or the host refuses; then none are
    /// taken.
    fn take(&mut self, rings: Rings, passes: bool) -> io::Result<()>;

    /// Gives them back after the last access to memory; `None` if there are none.
    fn give_back(&mut self) -> Option<Standing>;

    /// A watched descriptor became ready; whether a ring was found impossible, and is served no longer.
    fn is_broken(&mut self) -> bool;
}

impl Ring {
    /// The ring at `place`, to go on with its available entry `next`. `None` unless each of its parts lies in one region
    /// of `ram`, and the interrupt has an eventfd that is all of it.
    pub fn new(
        ram: &Ram,
        place: Place,
        next: u16,
        kick: Arc<EventFd>,
        call: Option<Arc<dyn Interrupt>>,
    ) -> Option<Ring> {
        if call.as_ref().is_some_and(|call| call.eventfd().is_none()) {
            return None;
        }
        let entries = usize::from(place.entries);
        // With the event fields behind the rings (virtio 1.2, 2.7).
        let part = |addr, header: usize, entry: usize| {
            let len = entry.saturating_mul(entries).saturating_add(header);
            let place = slice(ram, addr, len)?;
            Some(place.ptr_guard().as_ptr() as u64)
        };
        let parts = Parts {
            descriptors: part(place.descriptors, 0, 16)?,
            available: part(place.available, 6, 2)?,
            used: part(place.used, 6, 8)?,
        };
        Some(Ring { entries: place.entries, next, parts, kick, call })
    }
}

//! The card's fatal error: raised by any thread, noticed by the attendant (specification 10.3).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use device_core::fault::GuestFault;
use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::faults::Mischief;
use crate::ring::{Direction, FaultSink};

/// Whether the card is in its fatal state, and the bell that calls its attendant.
#[derive(Debug)]
pub struct Alarm {
    raised: AtomicBool,
    bell: EventFd,
    mischief: Arc<Mischief>,
}

impl Alarm {
    /// All is well, but for `mischief`. Fails if the host has no eventfd left.
    pub fn new(mischief: Arc<Mischief>) -> io::Result<Alarm> {
        let bell = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Alarm { raised: AtomicBool::new(false), bell, mischief })
    }

    /// Puts the card into its fatal state, which only a reset ends.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release); // pairs with `is_raised`
        self.call();
    }

    /// Whether the card is in its fatal state.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire) // pairs with `raise`
    }

    /// The card was reset.
    pub fn clear(&self) {
        self.raised.store(false, Ordering::Release); // pairs with `is_raised`
    }

    /// Calls the attendant: there is something to look after.
    pub fn call(&self) {
        // Cannot fail but by overflow, and then it is readable already.
        let _ = self.bell.write(1);
    }

    /// What the attendant waits for, edge-triggered.
    pub fn bell(&self) -> BorrowedFd<'_> {
        borrow(&self.bell)
    }
}

impl FaultSink for Alarm {
    fn ring_broken(&self, _: Direction, _: u16, _: GuestFault) {
        // The lane has said why.
        self.raise();
    }

    fn completed(&self, id: u16) -> Option<u16> {
        self.mischief.completed(id)
    }
}

//! The card's fatal error: raised by any thread, noticed by the attendant (specification 10.3).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use device_core::attendant::Bell;
use device_core::fault::GuestFault;

use crate::faults::Mischief;
use crate::ring::{Direction, FaultSink};

/// Whether the card is in its fatal state, and the bell that calls its attendant.
#[derive(Debug)]
pub struct Alarm {
    raised: AtomicBool,
    bell: Arc<Bell>,
    mischief: Arc<Mischief>,
}

impl Alarm {
    /// All is well, but for `mischief`. Fails if the host has no eventfd left.
    pub fn new(mischief: Arc<Mischief>) -> io::Result<Alarm> {
        let bell = Arc::new(Bell::new()?);
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
        self.bell.ring();
    }

    /// What calls the attendant.
    pub fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
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

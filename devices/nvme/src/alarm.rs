//! What lanes and vCPUs tell the attendant: that the controller failed, that a doorbell was written wrong,
//! that a ring came home.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use device_core::attendant::Bell;

/// How a doorbell can be written wrong: event information of an error event (figure 147).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDoorbell {
    /// It belongs to no queue.
    NoQueue = 0,
    /// The queue has no such entry, or it cannot be the next one.
    Value = 1,
}

/// Whether the controller has failed, and the bell that calls its attendant.
#[derive(Debug)]
pub struct Alarm {
    failed: AtomicBool,
    /// One bit for each kind of [`BadDoorbell`].
    doorbells: AtomicU8,
    bell: Arc<Bell>,
}

impl Alarm {
    /// All is well. Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Alarm> {
        let bell = Arc::new(Bell::new()?);
        Ok(Alarm { failed: AtomicBool::new(false), doorbells: AtomicU8::new(0), bell })
    }

    /// Puts the controller into its fatal state (CSTS.CFS), which only a reset ends.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release); // pairs with `has_failed`
        self.call();
    }

    /// Whether the controller is in its fatal state.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) // pairs with `fail`
    }

    /// A doorbell was written wrong; it was ignored.
    pub fn note(&self, bad: BadDoorbell) {
        let bit = 1 << bad as u8;
        if self.doorbells.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.call();
        }
    }

    /// What was noted since the last call.
    pub fn take_noted(&self) -> Option<BadDoorbell> {
        match self.doorbells.swap(0, Ordering::Relaxed) {
            0 => None,
            1 => Some(BadDoorbell::NoQueue),
            _ => Some(BadDoorbell::Value),
        }
    }

    /// All bits of [`Alarm::noted`].
    pub const DOORBELLS: u8 = 1 << BadDoorbell::NoQueue as u8 | 1 << BadDoorbell::Value as u8;

    /// What was noted and nobody has taken: a bit for each kind of [`BadDoorbell`].
    pub fn noted(&self) -> u8 {
        self.doorbells.load(Ordering::Relaxed)
    }

    /// Notes what [`Alarm::noted`] told of another controller, in whose place this one is.
    pub fn note_again(&self, noted: u8) {
        self.doorbells.store(noted, Ordering::Relaxed);
        self.call();
    }

    /// The controller was reset.
    pub fn clear(&self) {
        self.failed.store(false, Ordering::Release); // pairs with `has_failed`
        self.doorbells.store(0, Ordering::Relaxed);
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

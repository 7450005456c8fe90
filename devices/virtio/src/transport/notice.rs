//! What a device tells its driver, from any thread, without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::interrupts::Interrupts;
use crate::device::Notice;

/// The registers that the device's side changes.
///
/// A vCPU that waits in `unplug` for an I/O thread holds the registers' lock; that thread must be
/// able to speak meanwhile. So this is atomics only, and each is true on its own: no reader draws a
/// conclusion from two of them, and the interrupt comes after what it announces.
pub struct Bulletin {
    interrupts: Interrupts,
    generation: AtomicU32,
    needs_reset: AtomicBool,
}

impl Bulletin {
    /// Nothing to tell yet.
    pub fn new(interrupts: Interrupts) -> Bulletin {
        Bulletin { interrupts, generation: AtomicU32::new(0), needs_reset: AtomicBool::new(false) }
    }

    /// How the driver is interrupted.
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Changes with the configuration.
    pub fn generation(&self) -> u32 {
        // Pairs with `config_changed`: who sees the new generation sees the new configuration.
        self.generation.load(Ordering::Acquire)
    }

    /// Whether DEVICE_NEEDS_RESET is to be shown.
    pub fn is_reset_needed(&self) -> bool {
        self.needs_reset.load(Ordering::Relaxed)
    }

    /// Becomes what was kept of another one; interrupts apart.
    pub fn restore(&self, generation: u32, needs_reset: bool) {
        self.generation.store(generation, Ordering::Release);
        self.needs_reset.store(needs_reset, Ordering::Relaxed);
    }

    /// As after power-on. The generation goes on: drivers compare it across a reset too.
    pub fn reset(&self) {
        self.needs_reset.store(false, Ordering::Relaxed);
        self.interrupts.reset();
    }
}

impl Notice for Bulletin {
    fn config_changed(&self) {
        // Pairs with `generation`.
        self.generation.fetch_add(1, Ordering::Release);
        self.interrupts.config_changed();
    }

    fn needs_reset(&self) {
        self.needs_reset.store(true, Ordering::Relaxed);
        self.interrupts.config_changed();
    }
}

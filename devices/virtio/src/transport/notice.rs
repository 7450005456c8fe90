//! What a device tells its driver, from any thread, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use device_core::interrupt::MsiVector;

use crate::device::Notice;

/// VIRTIO_MSI_NO_VECTOR: no interrupt for this event.
pub const NO_VECTOR: u16 = 0xffff;
/// Device configuration interrupt in the ISR status (virtio 1.2, 4.1.4.5).
const ISR_CONFIG: u8 = 1 << 1;

/// The registers that the device's side changes.
///
/// A vCPU that waits in `unplug` for an I/O thread holds the registers' lock; that thread must be
/// able to speak meanwhile. So this is atomics only, and each is true on its own: no reader draws a
/// conclusion from two of them, and the interrupt comes after what it announces.
pub struct Bulletin {
    vectors: Vec<Arc<dyn MsiVector>>,
    config_vector: AtomicU16,
    generation: AtomicU8,
    needs_reset: AtomicBool,
    isr: AtomicU8,
}

impl Bulletin {
    /// Nothing to tell, with the card's vectors.
    pub fn new(vectors: Vec<Arc<dyn MsiVector>>) -> Bulletin {
        Bulletin {
            vectors,
            config_vector: AtomicU16::new(NO_VECTOR),
            generation: AtomicU8::new(0),
            needs_reset: AtomicBool::new(false),
            isr: AtomicU8::new(0),
        }
    }

    /// The vector of that number, if the card has it.
    pub fn vector(&self, number: u16) -> Option<&Arc<dyn MsiVector>> {
        self.vectors.get(usize::from(number))
    }

    /// What a vector register holds after `number` was written to it.
    pub fn accepted(&self, number: u16) -> u16 {
        self.vector(number).map_or(NO_VECTOR, |_| number)
    }

    /// The vector for configuration changes, or [`NO_VECTOR`].
    pub fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Relaxed)
    }

    /// Sets it; what is no vector of the card becomes [`NO_VECTOR`].
    pub fn set_config_vector(&self, number: u16) {
        self.config_vector.store(self.accepted(number), Ordering::Relaxed);
    }

    /// Changes with the configuration.
    pub fn generation(&self) -> u8 {
        // Pairs with `config_changed`: who sees the new generation sees the new configuration.
        self.generation.load(Ordering::Acquire)
    }

    /// Whether DEVICE_NEEDS_RESET is to be shown.
    pub fn is_reset_needed(&self) -> bool {
        self.needs_reset.load(Ordering::Relaxed)
    }

    /// The ISR status; reading clears it. There is no INTx, so the bit for queues never shows.
    pub fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::Relaxed)
    }

    /// As after power-on. The generation goes on: drivers compare it across a reset too.
    pub fn reset(&self) {
        self.config_vector.store(NO_VECTOR, Ordering::Relaxed);
        self.needs_reset.store(false, Ordering::Relaxed);
        self.isr.store(0, Ordering::Relaxed);
    }

    fn interrupt(&self) {
        self.isr.fetch_or(ISR_CONFIG, Ordering::Relaxed);
        if let Some(vector) = self.vector(self.config_vector()) {
            vector.fire();
        }
    }
}

impl Notice for Bulletin {
    fn config_changed(&self) {
        // Pairs with `generation`.
        self.generation.fetch_add(1, Ordering::Release);
        self.interrupt();
    }

    fn needs_reset(&self) {
        self.needs_reset.store(true, Ordering::Relaxed);
        self.interrupt();
    }
}

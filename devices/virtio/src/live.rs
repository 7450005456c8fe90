//! A live queue taken apart: its ring, and the rest of it.

use std::sync::Arc;

use device_core::interrupt::MsiVector;
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use crate::device::LiveQueue;

/// What a [`LiveQueue`] has besides its ring.
pub(crate) struct Rest {
    /// Number of the queue, from 0.
    pub index: u16,
    /// Signalled by the guest's notifications.
    pub kick: Arc<EventFd>,
    /// Its vector, if it has one.
    pub irq: Option<Arc<dyn MsiVector>>,
}

impl Rest {
    /// Takes a live queue apart.
    pub fn of(queue: LiveQueue) -> (Rest, Queue) {
        let LiveQueue { index, ring, kick, irq } = queue;
        (Rest { index, kick, irq }, ring)
    }

    /// Puts it together again.
    pub fn with(self, ring: Queue) -> LiveQueue {
        LiveQueue { index: self.index, ring, kick: self.kick, irq: self.irq }
    }

    /// Fires the vector, if the guest wants it and has given one; whether it did.
    pub fn interrupt(&self, wanted: bool) -> bool {
        match &self.irq {
            Some(irq) if wanted => irq.fire(),
            _ => return false,
        }
        true
    }
}

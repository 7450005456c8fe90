//! A live queue taken apart: its ring, and the rest of it.

use std::sync::Arc;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::interrupt::Interrupt;
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use crate::device::LiveQueue;
use crate::ring::SplitRing;

/// What a [`LiveQueue`] has besides its ring.
pub(crate) struct Rest {
    /// Number of the queue, from 0.
    pub index: u16,
    /// Signalled by the guest's notifications.
    pub kick: Arc<EventFd>,
    /// Its interrupt, if it has one.
    pub irq: Option<Arc<dyn Interrupt>>,
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

    /// Fires the interrupt, if the guest wants it and has given one; whether it did.
    pub fn interrupt(&self, wanted: bool) -> bool {
        match &self.irq {
            Some(irq) if wanted => irq.fire(),
            _ => return false,
        }
        true
    }
}

/// A live queue whose ring is in work.
pub(crate) struct PluggedQueue {
    rest: Rest,
    /// Its ring.
    pub ring: SplitRing,
}

impl PluggedQueue {
    /// Takes a queue over whose driver has negotiated `features`. Fails if its ring is not in `memory`.
    pub fn new(
        queue: LiveQueue,
        memory: &GuestRam,
        features: u64,
    ) -> Result<PluggedQueue, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        Ok(PluggedQueue { rest, ring: SplitRing::new(ring, memory.clone(), features)? })
    }

    /// Signalled by the guest's notifications.
    pub fn kick(&self) -> &EventFd {
        &self.rest.kick
    }

    /// Shows all pushed chains to the guest, and interrupts it if it wants that; whether it did. Fails as
    /// [`SplitRing::publish`] does.
    pub fn publish(&mut self) -> Result<bool, GuestFault> {
        let wanted = self.ring.publish()?;
        Ok(self.rest.interrupt(wanted))
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }
}

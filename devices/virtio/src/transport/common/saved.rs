//! What of a device on its transport outlives its process, on either bus.
//!
//! A ring's place and size are those of its registers, which are settled once it lives: what is kept of a live ring
//! is how far it is. It comes back on the way that DRIVER_OK takes.

use device_core::snapshot::{LoadError, SaveError, Saved};
use serde::{Deserialize, Serialize};
use virtio_queue::QueueT;

use super::{Life, Queues, Transport};
use crate::device::LiveQueue;
use crate::transport::interrupts::InterruptState;
use crate::transport::registers::saved::RegisterState;

const VERSION: u16 = 1;

/// A device with what it stands on, whose queues are home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportState {
    /// What the driver wrote.
    pub registers: RegisterState,
    /// ConfigGeneration.
    pub generation: u32,
    /// DEVICE_NEEDS_RESET is set.
    pub needs_reset: bool,
    /// How the driver is interrupted.
    pub interrupts: InterruptState,
    /// The queues that live, in order; `None` unless the driver said DRIVER_OK and the device took them.
    pub live: Option<Vec<LiveState>>,
    /// What the device itself keeps.
    pub device: Saved,
}

/// How far a live ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveState {
    /// Number of the queue, from 0.
    pub index: u16,
    /// The next available entry to take.
    pub next_avail: u16,
    /// The next used entry to write.
    pub next_used: u16,
}

impl Transport {
    /// Takes the state, which is of a `kind`. Fails while queues are plugged.
    pub fn save(&self, kind: &'static str) -> Result<Saved, SaveError> {
        let life = self.life();
        let live = match &life.queues {
            Queues::None => None,
            Queues::Home(queues) => {
                let mut live: Vec<_> = queues.iter().map(LiveState::of).collect();
                live.sort_by_key(|queue| queue.index);
                Some(live)
            }
            Queues::Plugged => {
                let id = self.device.id();
                return Err(SaveError::Now(format!("{id} is at work; pause the machine first")));
            }
        };
        let state = TransportState {
            registers: life.registers.saved(),
            generation: self.bulletin.generation(),
            needs_reset: self.bulletin.is_reset_needed(),
            interrupts: self.bulletin.interrupts().saved(),
            live,
            device: self.device.save()?,
        };
        Saved::new(kind, VERSION, &state)
    }

    /// Becomes what `saved`, of a `kind`, says; queues wait for [`Transport::start`]. Fails if no driver could have
    /// brought that about here; then the device must not be used.
    pub fn load(&self, kind: &'static str, saved: &Saved) -> Result<(), LoadError> {
        let state: TransportState = saved.read(kind, VERSION, |_, state| state)?;
        let life = &mut *self.life();
        if !matches!(life.queues, Queues::None) {
            return Err(LoadError::field(kind, "live", "a driver uses the device already"));
        }
        life.registers.restore(kind, state.registers)?;
        let interrupts = self.bulletin.interrupts();
        interrupts
            .restore(&state.interrupts)
            .map_err(|why| LoadError::field(kind, "interrupts", why))?;
        self.bulletin.restore(state.generation, state.needs_reset);
        self.device.load(life.registers.agreed_features(), &state.device)?;
        life.queues = self.restored(kind, life, state.live)?;
        life.comes_back = matches!(life.queues, Queues::Home(_));
        Ok(())
    }

    fn restored(
        &self,
        kind: &'static str,
        life: &Life,
        live: Option<Vec<LiveState>>,
    ) -> Result<Queues, LoadError> {
        let refuse = |why: String| LoadError::field(kind, "live", why);
        let runs = life.registers.wants_it_to_run();
        let Some(live) = live else {
            if runs && !self.bulletin.is_reset_needed() {
                return Err(refuse("the driver believes that the device runs".to_owned()));
            }
            return Ok(Queues::None);
        };
        if !runs {
            return Err(refuse("the driver has not let the device run".to_owned()));
        }
        if !live.is_sorted_by(|one, next| one.index < next.index) {
            return Err(refuse("the queues are not in order".to_owned()));
        }
        let all = self.live_queues(&life.registers).map_err(|fault| refuse(fault.to_string()))?;
        let mut queues = Vec::with_capacity(live.len());
        let mut all = all.into_iter();
        for state in live {
            let queue = all.find(|queue| queue.index == state.index);
            let not_there = || refuse(format!("queue {} was not set up", state.index));
            queues.push(state.put_into(queue.ok_or_else(not_there)?).map_err(refuse)?);
        }
        Ok(Queues::Home(queues))
    }
}

impl LiveState {
    fn of(queue: &LiveQueue) -> LiveState {
        LiveState {
            index: queue.index,
            next_avail: queue.ring.next_avail(),
            next_used: queue.ring.next_used(),
        }
    }

    fn put_into(self, mut queue: LiveQueue) -> Result<LiveQueue, String> {
        let (taken, size) = (self.next_avail.wrapping_sub(self.next_used), queue.ring.size());
        if taken > size {
            return Err(format!("queue {}: {taken} chains of {size} are in work", self.index));
        }
        queue.ring.set_next_avail(self.next_avail);
        queue.ring.set_next_used(self.next_used);
        Ok(queue)
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

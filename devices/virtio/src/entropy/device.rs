//! The entropy device: no features, no configuration, one queue.

use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Kit;
use device_core::limiter::{Levels, Limiter};
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use super::requests::{EntropyCounters, Requests, Shared};
use super::spec::EntropySpec;
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use crate::port::QueuePort;

const QUEUE_SIZES: [u16; 1] = [256];

/// A source of random bytes.
pub struct Entropy {
    memory: GuestRam,
    shared: Arc<Shared>,
    port: QueuePort<Requests>,
}

impl Entropy {
    /// With the limits of `spec`.
    pub fn build(spec: &EntropySpec, kit: &Kit<'_>) -> Arc<Entropy> {
        let limiter = Limiter::new(Instant::now());
        limiter.set(spec.limits);
        Arc::new(Entropy {
            memory: kit.memory.clone(),
            shared: Arc::new(Shared { limiter, counters: EntropyCounters::default() }),
            port: QueuePort::new(kit.threads.slow().clone()),
        })
    }

    /// What it has done.
    pub fn counters(&self) -> &EntropyCounters {
        &self.shared.counters
    }

    /// Returns after it has done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.port.settle();
    }
}

impl VirtioDevice for Entropy {
    fn id(&self) -> &str {
        EntropySpec::ID
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_RNG as u16
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _: u64, _: Width) -> u64 {
        0
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        for queue in queues {
            let (memory, shared) = (self.memory.clone(), self.shared.clone());
            let requests = Requests::new(queue, memory, features, shared)?;
            self.port.plug(requests, notice.clone())?;
        }
        Ok(())
    }

    fn unplug(&self) -> Vec<LiveQueue> {
        self.port.unplug()
    }

    fn reset(&self) {}

    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, _: u64, saved: &Saved) -> Result<(), LoadError> {
        self.load_saved(saved)
    }
}

/// It keeps nothing of what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropyState {
    /// How far its limits are used up.
    pub limits: Levels,
}

impl Snapshot for Entropy {
    type State = EntropyState;
    const KIND: &'static str = "virtio-entropy";
    const VERSION: u16 = 1;

    fn save(&self) -> EntropyState {
        EntropyState { limits: self.shared.limiter.levels(Instant::now()) }
    }

    fn load(&self, state: EntropyState) -> Result<(), LoadError> {
        self.shared.limiter.set_levels(state.limits, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
#[path = "device_test.rs"]
mod tests;

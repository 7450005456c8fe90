//! The device: its configuration, the way of its queue to the worker and back, and what its owner asks of it.

pub mod saved;

use std::sync::Arc;

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Kit;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use virtio_bindings::virtio_ids::VIRTIO_ID_MEM;

use super::service::Service;
use super::spec::HotMemorySpec;
use super::state::{HotMemoryCounters, MemoryListener, State};
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use crate::port::QueuePort;

const QUEUE_SIZES: [u16; 1] = [64];

/// VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE: the driver never touches blocks that are not plugged.
pub const UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The machine was built without it.
    #[error("the machine has no memory that could be plugged")]
    NoRegion,
}

/// Why the guest cannot be asked to have so much. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Size {0} is invalid: it must be a multiple of block size and less than the total size, or equal"
)]
pub struct SizeError(pub u32);

/// Memory that is plugged while the guest runs.
pub struct HotMemory {
    memory: GuestRam,
    spec: HotMemorySpec,
    state: Arc<State>,
    port: QueuePort<Service>,
}

impl HotMemory {
    /// As `spec` has it, which is that of the machine's region. Fails if there is none.
    pub fn build(spec: &HotMemorySpec, kit: &Kit<'_>) -> Result<Arc<HotMemory>, BuildError> {
        let region = kit.hot.ok_or(BuildError::NoRegion)?.clone();
        let requested = u64::from(spec.requested_mib) << 20;
        Ok(Arc::new(HotMemory {
            memory: kit.memory.clone(),
            spec: *spec,
            state: Arc::new(State::new(region, spec.slot_bytes(), requested)),
            port: QueuePort::new(kit.threads.slow().clone()),
        }))
    }

    /// What it has done.
    pub fn counters(&self) -> &HotMemoryCounters {
        &self.state.counters
    }

    /// How it is made, and what the guest is to have now.
    pub fn spec(&self) -> HotMemorySpec {
        let requested_mib = u32::try_from(self.state.requested() >> 20).unwrap_or(u32::MAX);
        HotMemorySpec { requested_mib, ..self.spec }
    }

    /// Bytes that the guest has.
    pub fn plugged(&self) -> u64 {
        self.state.plugged()
    }

    /// Changes what the guest is to have, in MiB. It follows when it can: a driver that is not loaded yet, as soon as
    /// it is. Fails if it cannot be so much.
    pub fn request(&self, mib: u32) -> Result<(), SizeError> {
        if !self.spec.may_be_requested(mib) {
            return Err(SizeError(mib));
        }
        self.state.set_requested(u64::from(mib) << 20);
        self.state.tell();
        Ok(())
    }

    /// Has `listener` told of events from now on.
    pub fn set_listener(&self, listener: Option<MemoryListener>) {
        self.state.set_listener(listener);
    }

    /// Returns after its worker has had a turn.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.port.settle();
    }
}

impl VirtioDevice for HotMemory {
    fn id(&self) -> &str {
        HotMemorySpec::ID
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_MEM as u16
    }

    fn features(&self) -> u64 {
        UNPLUGGED_INACCESSIBLE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_mem_config` (virtio 1.2, 5.15.4): 56 bytes, of which the second eight are a node, and there
    /// is none.
    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let state = &self.state;
        let words = [
            state.region.blocks().block_bytes(),
            0,
            state.region.start(),
            state.size(),
            state.usable(),
            state.plugged(),
            state.requested(),
        ];
        width.load(words.map(u64::to_le_bytes).as_flattened(), offset)
    }

    /// Fails for a driver that reads blocks that are not plugged, as Linux did before 5.16.
    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        if features & UNPLUGGED_INACCESSIBLE == 0 {
            let why =
                "memory: the driver does not know that blocks that are not plugged are not there";
            return Err(PlugError(why.to_string()));
        }
        self.state.listen(Some(notice.clone()));
        for queue in queues {
            let (memory, state) = (self.memory.clone(), self.state.clone());
            let service = Service::new(queue, memory, features, state)?;
            self.port.plug(service, notice.clone())?;
        }
        Ok(())
    }

    /// Waits for blocks that come or go.
    fn unplug(&self) -> Vec<LiveQueue> {
        self.port.unplug()
    }

    /// Blocks stay as they are (virtio 1.2, 5.15.5.2): a guest that begins anew asks for their state, or unplugs all.
    fn reset(&self) {
        self.state.listen(None);
    }

    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, _: u64, saved: &Saved) -> Result<(), LoadError> {
        self.load_saved(saved)
    }
}

#[cfg(test)]
#[path = "device_test.rs"]
mod tests;

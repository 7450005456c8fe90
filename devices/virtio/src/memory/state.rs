//! What memory's registers, its queue and its owner share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::counters;
use device_core::hot_region::HotRegion;

use crate::device::Notice;

counters! {
    /// What memory that is plugged while the guest runs has done since its machine was built.
    pub struct HotMemoryCounters {
        /// Requests to plug blocks that were done.
        plugs,
        /// Bytes that these plugged.
        plugged_bytes,
        /// Requests to plug blocks that were not done.
        plug_failures,
        /// Requests to unplug blocks that were done.
        unplugs,
        /// Bytes that these unplugged.
        unplugged_bytes,
        /// Requests to unplug blocks that were not done.
        unplug_failures,
        /// Requests to unplug all of it.
        unplug_alls,
        /// Questions for the state of blocks.
        states,
        /// Questions for the state of what is no block.
        state_failures,
        /// Requests that are none, or are not in memory.
        refused,
        /// Times that the host did not take memory back, or had none.
        host_failures,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// What memory tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// The guest has as much as it is to have.
    Reached {
        /// Bytes of its blocks.
        bytes: u64,
    },
}

/// Takes what memory tells, on the thread of slow devices; it must not wait.
pub type MemoryListener = Box<dyn Fn(MemoryEvent) + Send + Sync>;

/// All of it. Only the service, the worker of the queue, counts, plugs and unplugs.
pub(super) struct State {
    pub region: Arc<dyn HotRegion>,
    /// Bytes that the usable part of the region grows in.
    slot_bytes: u64,
    /// Bytes that the guest is to have.
    requested: AtomicU64,
    /// Bytes from the region's begin on in which the guest may plug blocks.
    usable: AtomicU64,
    /// For a driver that is loaded.
    notice: Mutex<Option<Arc<dyn Notice>>>,
    listener: Mutex<Option<MemoryListener>>,
    pub counters: HotMemoryCounters,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Of a `region` whose usable part grows by `slot_bytes`, and of which the guest is to have `requested` bytes.
    pub fn new(region: Arc<dyn HotRegion>, slot_bytes: u64, requested: u64) -> State {
        let state = State {
            region,
            slot_bytes,
            requested: AtomicU64::new(0),
            usable: AtomicU64::new(0),
            notice: Mutex::default(),
            listener: Mutex::default(),
            counters: HotMemoryCounters::default(),
        };
        state.set_requested(requested);
        state
    }

    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        let blocks = self.region.blocks();
        blocks.count().saturating_mul(blocks.block_bytes())
    }

    /// Bytes that the guest is to have.
    pub fn requested(&self) -> u64 {
        self.requested.load(Relaxed)
    }

    /// Bytes of its blocks.
    pub fn plugged(&self) -> u64 {
        self.region.blocks().plugged_bytes()
    }

    /// Bytes from the region's begin on in which the guest may plug blocks.
    pub fn usable(&self) -> u64 {
        self.usable.load(Relaxed)
    }

    /// Changes what the guest is to have, which fits into the region; the usable part never becomes smaller.
    pub fn set_requested(&self, bytes: u64) {
        let slots = bytes.checked_next_multiple_of(self.slot_bytes).unwrap_or(u64::MAX);
        self.set_usable(slots.min(self.size()));
        self.requested.store(bytes, Relaxed);
    }

    /// Makes the usable part at least so large.
    pub fn set_usable(&self, bytes: u64) {
        self.usable.fetch_max(bytes, Relaxed);
    }

    /// A driver is loaded that can be told by `notice`.
    pub fn listen(&self, notice: Option<Arc<dyn Notice>>) {
        *locked(&self.notice) = notice;
    }

    /// Tells the driver that the configuration has changed.
    pub fn tell(&self) {
        let notice = locked(&self.notice).clone();
        if let Some(notice) = notice {
            notice.config_changed();
        }
    }

    /// Has `listener` told of events from now on.
    pub fn set_listener(&self, listener: Option<MemoryListener>) {
        *locked(&self.listener) = listener;
    }

    /// Blocks have come or gone.
    pub fn changed(&self) {
        let bytes = self.plugged();
        if bytes == self.requested()
            && let Some(listener) = &*locked(&self.listener)
        {
            listener(MemoryEvent::Reached { bytes });
        }
    }
}

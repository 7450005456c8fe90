//! virtio-mem (virtio 1.2, 5.15): memory that the guest gets, and gives up, block by block while it runs.
//!
//! ```text
//! owner      how much the guest is to have ──► requested_size, and a configuration change
//! driver     plug, unplug, unplug all ──► HotRegion: blocks that are there for vCPUs and devices, or with the host
//!            state ──► whether blocks are plugged
//! ```

mod device;
mod requests;
mod service;
mod spec;
mod state;
mod work;

pub use device::{BuildError, HotMemory, SizeError};
pub use spec::{HotMemorySpec, ParseSpecError, SpecError};
pub use state::{HotMemoryCounters, MemoryEvent, MemoryListener};

#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod life_test;
#[cfg(test)]
mod queues_test;
#[cfg(any(test, feature = "testing"))]
pub use device::UNPLUGGED_INACCESSIBLE;

//! One queue's registers, and the checks on the way from there to a live ring.

use device_core::Ram;
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use super::interrupts::NO_VECTOR;

/// What a driver may set for one queue (virtio 1.2, 4.1.4.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueRegisters {
    /// Entries.
    pub size: u16,
    /// Vector for used buffers, or [`NO_VECTOR`].
    pub vector: u16,
    /// The driver has set it up.
    pub enabled: bool,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
}

/// A queue that the driver set up in a way that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueueFault {
    #[error("queue {queue}: size {size} is no power of two from 1 to {max}")]
    Size { queue: u16, size: u16, max: u16 },
    #[error("queue {queue}: the {area} at {address:#x} is not aligned")]
    Alignment { queue: u16, area: &'static str, address: u64 },
    #[error("queue {queue}: the {area} of {len} bytes at {address:#x} is not in memory")]
    NotInMemory { queue: u16, area: &'static str, address: u64, len: usize },
}

const DESCRIPTORS: &str = "descriptor table";
const AVAILABLE: &str = "available ring";
const USED: &str = "used ring";

impl QueueRegisters {
    /// After a reset: not enabled, of the largest size.
    pub fn new(max_size: u16) -> QueueRegisters {
        QueueRegisters {
            size: max_size,
            vector: NO_VECTOR,
            enabled: false,
            descriptors: 0,
            available: 0,
            used: 0,
        }
    }

    /// A ring of its own with copies of the registers, for queue number `queue`. Fails if they cannot be
    /// of a ring in memory.
    pub fn ring(
        &self,
        queue: u16,
        max_size: u16,
        event_idx: bool,
        memory: &Ram,
    ) -> Result<Queue, QueueFault> {
        let bad_size = || QueueFault::Size { queue, size: self.size, max: max_size };
        let mut ring = Queue::new(max_size).map_err(|_| bad_size())?;
        ring.try_set_size(self.size).map_err(|_| bad_size())?;

        let misaligned = |area, address| QueueFault::Alignment { queue, area, address };
        ring.try_set_desc_table_address(GuestAddress(self.descriptors))
            .map_err(|_| misaligned(DESCRIPTORS, self.descriptors))?;
        ring.try_set_avail_ring_address(GuestAddress(self.available))
            .map_err(|_| misaligned(AVAILABLE, self.available))?;
        ring.try_set_used_ring_address(GuestAddress(self.used))
            .map_err(|_| misaligned(USED, self.used))?;

        for (area, address, len) in self.areas() {
            if !memory.check_range(GuestAddress(address), len, Permissions::ReadWrite) {
                return Err(QueueFault::NotInMemory { queue, area, address, len });
            }
        }
        ring.set_event_idx(event_idx);
        ring.set_ready(true);
        Ok(ring)
    }

    /// The parts of the ring with their lengths (virtio 1.2, 2.7), event fields included.
    fn areas(&self) -> [(&'static str, u64, usize); 3] {
        let with = |header: usize, entry: usize| {
            header.saturating_add(entry.saturating_mul(self.size.into()))
        };
        [
            (DESCRIPTORS, self.descriptors, with(0, 16)),
            (AVAILABLE, self.available, with(6, 2)),
            (USED, self.used, with(6, 8)),
        ]
    }
}

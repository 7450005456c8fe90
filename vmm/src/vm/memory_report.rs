//! What a machine's memory comes to on the host.

use devices::balloon::Balloon;
use devices::memory::HotMemory;
use serde::Serialize;

use crate::memory::{Size, resident};

/// All in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// The guest's RAM, without what is plugged later.
    pub size: u64,
    /// What the process has of the host's memory; the VMM's own is a few MiB of it. `None` where the host does
    /// not tell.
    pub resident: Option<u64>,
    /// Of that all but pages of files.
    pub anonymous: Option<u64>,
    /// What the host has moved to swap.
    pub swapped: Option<u64>,
    /// Of a machine that has a balloon and is started.
    pub balloon: Option<BalloonReport>,
    /// Of a machine that has memory to be plugged and is started.
    pub hotplug: Option<HotMemoryReport>,
}

/// What memory that is plugged while the guest runs comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HotMemoryReport {
    /// What the guest can have of it.
    pub total: u64,
    /// What it is to have.
    pub requested: u64,
    /// What it has.
    pub plugged: u64,
}

/// What the balloon comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalloonReport {
    /// What the guest is to give up.
    pub target: u64,
    /// What it says that it gave up.
    pub actual: u64,
    /// What has gone back to the host since the start, over and over: by the balloon itself, by reports of free
    /// pages and by hints.
    pub given_back: u64,
}

impl MemoryReport {
    /// Of a machine with so much memory, now.
    pub fn now(memory: Size, balloon: Option<&Balloon>, hot: Option<&HotMemory>) -> MemoryReport {
        let told = resident::now().ok();
        MemoryReport {
            size: memory.0,
            resident: told.map(|told| told.resident),
            anonymous: told.map(|told| told.anonymous),
            swapped: told.map(|told| told.swapped),
            balloon: balloon.map(|balloon| {
                let bytes = |pages: u32| u64::from(pages) << 12;
                let counters = balloon.counters();
                let parts =
                    [&counters.inflated_bytes, &counters.reported_bytes, &counters.hinted_bytes];
                BalloonReport {
                    target: bytes(balloon.target()),
                    actual: bytes(balloon.actual()),
                    given_back: parts.iter().map(|part| part.get()).sum(),
                }
            }),
            hotplug: hot.map(|hot| {
                let spec = hot.spec();
                let requested = u64::from(spec.requested_mib) << 20;
                HotMemoryReport { total: spec.total_bytes(), requested, plugged: hot.plugged() }
            }),
        }
    }
}

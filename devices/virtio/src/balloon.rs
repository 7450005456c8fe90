//! virtio-balloon (virtio 1.2, 5.5): memory that the guest does not need goes back to the host.
//!
//! ```text
//! inflate    pages that the driver took out of use, since it was asked for so many  ─┐
//! reporting  pages that are free just now, and are held until they come back         ├─► Reclaim
//! hinting    the same, while a run of hints that was asked for lasts                 ─┘
//! deflate    pages that the driver uses again: they come as they are touched
//! statistics what the guest says of its memory, each time it is asked
//! ```

mod blocks;
mod device;
mod features;
mod hinting;
mod lane;
mod pages;
mod service;
mod spec;
mod state;
mod statistics;

pub use device::{Balloon, BalloonEvent, BalloonListener, ControlError};
pub use hinting::HintStatus;
pub use spec::{BalloonSpec, PAGES_PER_MIB, ParseSpecError};
pub use state::BalloonCounters;
pub use statistics::Statistics;

#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod life_test;
#[cfg(test)]
mod queues_test;
#[cfg(any(test, feature = "testing"))]
pub use features::{DEFLATE_ON_OOM, HINTING, POISON, REPORTING, STATISTICS};

//! virtio-blk (virtio 1.2, 5.2): a thin front of the disk path.

mod config;
mod device;
mod features;
mod grammar;
mod inspect;
mod requests;

pub use device::{Block, BuildError};
pub use inspect::Disk;
pub use requests::Requests;

#[cfg(test)]
mod drivers_test;
#[cfg(test)]
mod framing_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod life_test;
#[cfg(test)]
mod requests_test;

//! virtio-pmem (virtio 1.2, 5.19): a file as memory of the guest, and a queue to make what was written last.

mod device;
mod requests;
mod spec;

pub use device::{BuildError, Pmem};
pub use requests::PmemCounters;
pub use spec::{GRANULE, PmemSpec, SpecError};

#[cfg(test)]
mod hostile_test;

//! virtio-rng (virtio 1.2, 5.4): random bytes of the host's kernel for the guest's.

mod device;
mod requests;
mod spec;

pub use device::Entropy;
pub use requests::EntropyCounters;
pub use spec::{EntropySpec, ParseSpecError};

#[cfg(test)]
mod hostile_test;

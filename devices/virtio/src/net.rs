//! virtio-net (virtio 1.2, 5.1): a thin front of the packet path.

mod control;
mod device;
mod features;
mod hash;
mod inspect;
mod lent;
mod refused;
mod rx;
mod tx;

pub use device::{BuildError, Net};
pub use inspect::Nic;

#[cfg(test)]
mod control_test;
#[cfg(test)]
mod hash_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod lent_test;
#[cfg(test)]
mod rx_test;
#[cfg(test)]
mod tx_test;

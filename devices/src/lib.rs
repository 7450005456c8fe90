//! The one list of device kinds.

#![forbid(unsafe_code)]

mod catalog;

pub use device_core::{limiter, per_second};
/// The engines and boards behind the kinds, for who builds the machine.
pub use virtio::vsock;
pub use virtio::{balloon, entropy, memory, pmem};
pub use {block, legacy, net};

pub use catalog::{BuildError, Built, DeviceSpec, Kind, Place, serial_of};

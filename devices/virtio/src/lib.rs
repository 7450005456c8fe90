//! Virtio over PCI and MMIO: transports, split rings, and the fronts for network, disks and vsock.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod balloon;
pub mod block;
pub mod device;
pub mod entropy;
mod live;
pub mod memory;
pub mod net;
pub mod pmem;
mod port;
mod request;
pub mod ring;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod vsock;

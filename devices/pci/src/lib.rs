//! PCI configuration space, BARs, MSI-X and the bus of functions.

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

pub mod bus;
mod capability;
mod config;
pub mod device;
pub mod function;
mod host_bridge;
pub mod hotplug;
mod msix;
#[cfg(test)]
mod test_card;
#[cfg(feature = "testing")]
pub mod testing;
pub mod windows;

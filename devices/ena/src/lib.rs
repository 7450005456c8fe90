//! Amazon's Elastic Network Adapter: registers, admin queue, rings.

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

mod abi;
mod admin;
mod alarm;
mod card;
mod cells;
mod device;
mod doorbells;
pub mod faults;
mod host_info;
pub mod inspect;
mod page;
mod quiet;
mod registers;
pub mod ring;
mod saved;
mod stamp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod saved_test;

pub use admin::events::Hints;
pub use device::{BuildError, Ena};

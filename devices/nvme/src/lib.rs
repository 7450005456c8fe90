//! An NVMe controller with one namespace, in the shape of EC2's: registers, admin queue, rings (NVMe base
//! specification 1.4).

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
mod completion;
mod device;
mod doorbells;
mod errors;
mod identity;
mod inspect;
pub mod lanes;
mod page;
mod prp;
mod registers;
pub mod ring;
mod saved;
mod shadow;
mod stats;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod drivers_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod saved_test;

pub use device::{BuildError, Nvme};

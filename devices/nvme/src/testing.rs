//! The driver's half of the controller, in guest memory, and a disk that does as it is told: for tests,
//! fuzzing and benches; no KVM.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

pub mod bench;
pub mod disk;
pub mod driver;
pub mod hostile;

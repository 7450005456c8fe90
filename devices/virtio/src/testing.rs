//! The driver's half of virtio devices, in guest memory: for tests, fuzzing and benches; no KVM.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

pub mod balloon;
pub mod disk;
pub mod guest;
#[cfg(test)]
pub mod hostile;
pub mod memory;
pub mod nic;
pub mod ring;
pub mod vsock;

//! Disks: requests in, completions out.
//!
//! A controller's front translates its rings to requests ([`ring`]); a lane carries them out on the disk's
//! image by one engine, on its thread. Nothing here knows PCI, a descriptor or a PRP.

#![deny(unsafe_code)]
// Tasks go from owner to owner, and a pointer at a time.
#![allow(clippy::vec_box)]
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

mod bounce;
pub mod control;
pub mod engine;
pub mod image;
mod lane;
pub mod port;
pub mod request;
pub mod ring;
pub mod spec;
pub mod stats;
mod task;
#[cfg(test)]
mod testing;

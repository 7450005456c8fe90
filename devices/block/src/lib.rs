//! Disks: requests in, completions out.
//!
//! A controller's front translates its rings to requests ([`ring`]); a lane carries them out on the disk's
//! image by one engine, on its thread. Nothing here knows PCI, a descriptor or a PRP.

#![deny(unsafe_code)]
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

pub mod control;
pub mod request;
pub mod ring;
pub mod spec;

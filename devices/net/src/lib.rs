//! Frames: lanes, pipeline, offload and backends that all network cards share.
//!
//! A card's front translates its rings to frames ([`ring`]); a [`lane::Lane`] moves frames between
//! one pair of rings and one queue of a [`backend`], on its thread; a [`port::NetPort`] is what the
//! front holds. Nothing here knows PCI or a ring format.

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

mod announce;
pub mod backend;
pub mod capture;
pub mod control;
mod event;
pub mod frame;
pub mod lane;
pub mod lent;
pub mod link;
pub mod mac;
pub mod neighbour;
pub mod pipeline;
pub mod port;
pub mod ring;
pub mod rss;
pub mod service;
pub mod spec;
pub mod stage {
    //! What happens to a frame between ring and backend.
    pub mod delay;
    pub mod filter;
    pub mod finish;
    pub mod limiter;
    pub mod offload;
    pub mod rewrite;
    pub mod segment;
    pub mod tracking;
}
pub mod wire;

//! The words that all devices speak: bus, interrupt, kick, worker, counters.
//!
//! A device is a register file, queues and state. What vCPUs touch is `&self`; what moves data is
//! a [`worker::Worker`], owned by one thread. Nothing here knows KVM, PCI or a ring format.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
#![deny(unsafe_code)]

pub mod attendant;
pub mod bus;
pub mod counters;
pub mod device;
pub mod dirty;
pub mod doorbell;
pub mod fault;
pub mod fields;
pub mod files;
pub mod guest_log;
pub mod histogram;
pub mod hot_region;
pub mod interrupt;
pub mod irq_gate;
#[allow(unsafe_code)] // borrows an eventfd
pub mod kick;
pub mod limiter;
pub mod linger;
pub mod memory;
pub mod options;
pub mod output;
pub mod per_second;
pub mod ram_window;
#[allow(unsafe_code)] // has the kernel write to guest memory
pub mod random;
pub mod rate;
#[allow(unsafe_code)] // polls descriptors
pub mod ready;
pub mod reclaim;
pub mod region;
pub mod registers;
#[allow(unsafe_code)] // volatile copies and iovecs of checked ranges
pub mod scatter;
pub mod snapshot;
#[allow(unsafe_code)]
// makes a socket that is private before it has a path, removes it in signal handlers
pub mod socket;
#[allow(unsafe_code)] // sends from guest memory and receives into it
pub mod stream;
#[allow(unsafe_code)] // words with two owners in turn
mod sync;
#[cfg(any(test, feature = "testing"))]
#[allow(unsafe_code)] // polls an eventfd
pub mod testing;
pub mod thread;
#[allow(unsafe_code)] // names and connects sockets
mod unix;
#[allow(unsafe_code)] // takes turns at those words
pub mod word_ring;
#[cfg(test)]
mod word_ring_test;
pub mod worker;

use std::sync::Arc;

pub use dirty::Ram;

/// A shared handle on guest memory; regions never change while a machine lives.
pub type GuestRam = Arc<Ram>;

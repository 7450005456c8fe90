//! Harness, testbed and integration tests of the vmm binary.
//!
//! ```text
//!  host ── apt ──► cache ──► kernel, libraries ──► initramfs ──► guest
//!   │                                                             │
//!   └─ testbed (L1 with working KVM) ── net ── vmm ── console ────┘
//! ```
#![forbid(unsafe_code)]
#![allow(missing_docs)] // tools and helpers of tests, which nobody builds on

pub mod abreast;
pub mod api;
pub mod apt;
pub mod authority;
pub mod batches;
pub mod bench;
pub mod cache;
pub mod cargo;
pub mod clients;
pub mod console;
pub mod debian;
pub mod disk_image;
pub mod dpdk;
pub mod exchange;
pub mod frames;
pub mod fuzzing;
pub mod guest;
pub mod guest_vsock;
pub mod host;
pub mod idle;
pub mod imds;
pub mod initramfs;
pub mod kernel;
pub mod libraries;
pub mod machine;
pub mod manual;
pub mod mapped;
#[cfg(test)]
mod mirror;
pub mod modules;
pub mod native;
pub mod needs;
pub mod net;
pub mod payload;
pub mod process;
pub mod programs;
pub mod python;
pub mod records;
pub mod relay;
pub mod rss;
pub mod schemathesis;
pub mod ssh;
pub mod stand_in;
pub mod tally;
pub mod testbed;
pub mod told;
pub mod traffic;
pub mod tshark;
pub mod unprivileged;
pub mod vsock;

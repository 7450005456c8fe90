//! Measuring hypervisors at native speed: a guest that leaves kernel mode at once and polls its card runs at
//! full speed under any KVM, even one that emulates the kernel mode of guests.
//!
//! ```text
//!  bench ── peer ──► VMM ── guest (tests/native-guest) ──┐
//!    │                                                   │ card
//!    └── wire ──► TAP ◄── floor: bare writev and readv ──┘
//! ```

pub mod bench;
pub mod floor;
pub mod guest;
pub mod peer;
pub mod report;
pub mod round_trip;
pub mod sample;
pub mod table;
pub mod wire;

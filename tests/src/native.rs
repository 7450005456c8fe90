//! Measuring hypervisors at native speed: a guest that leaves kernel mode at once and polls its card or its disk
//! runs at full speed under any KVM, even one that emulates the kernel mode of guests.
//!
//! ```text
//!  bench ── peer ──► VMM ── guest (tests/native-guest) ──┐
//!    │                                                   │ card or disk
//!    ├── wire ──► line ◄── floor: bare writev and readv ─┤
//!    ├── disk ─► image ◄── floor: pread, pwrite, io_uring ┘
//!    ├── vsock ► socket ◄── floor: a bare Unix socket
//!    └── snapshot: saved and restored, one or many at once ◄── floor: a process that maps a file
//! ```

pub mod bench;
pub mod card_bench;
pub mod disk;
pub mod disk_bench;
pub mod floor;
pub mod guest;
pub mod job;
pub mod line;
pub mod peer;
pub mod report;
pub mod round_trip;
pub mod sample;
pub mod scene;
pub mod snapshot_bench;
pub mod table;
pub mod trial;
pub mod vsock_bench;
pub mod wire;
pub mod witness;

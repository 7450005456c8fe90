//! Memory whose pages come when they are touched, by `userfaultfd`: from another process, or from a thread of our own;
//! and what of a mapped file is fetched before it is touched.
//!
//! ```text
//!  own       faults ──► our thread ──► pages of the snapshot's file
//!  external  faults ──► somebody's process, which was handed the descriptor; our thread watches it
//!  ahead     no faults: what a record names is brought into the mapping in order of its use
//! ```

pub mod ahead;
pub mod external;
mod handshake;
pub mod helper;
pub mod own;
mod progress;
pub mod regions;
pub mod uffd;
pub mod working_set;

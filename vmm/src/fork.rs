//! Machines that begin as a running one is: in processes of their own, on memory that all share until they write to it.
//!
//! ```text
//!  main      pauses its machine, takes its state, makes its memory a base, lets it go on       control/forks.rs
//!    zygote  a process as main was before it opened anything; waits, and forks for each request serve.rs
//!      brood reads the request, forks the children, hears of each, lets all go on or none       brood.rs
//!        child becomes what `main` is: opens what is its own, restores, shuts itself in         child.rs, lib.rs
//! ```
//!
//! The process that runs a guest is shut in: it opens nothing, and has nobody who executes something. What a child may
//! open is what the zygote may, and that shuts itself in, before the guest runs, to the places that are the machine's.

pub mod brood;
pub mod child;
mod descriptors;
pub mod error;
pub mod images;
pub mod nature;
pub mod serve;
pub mod spec;
pub mod view;
pub mod words;
pub mod zygote;

//! A machine in two files: its state, and its memory.
//!
//! The memory's file has nothing but memory, so that it can be mapped. The state's names it by its length and by
//! sums of its parts, and is the one that says that a snapshot is there: it comes into its place last.

#[cfg(feature = "testing")]
pub mod by_hand;
pub mod card;
pub mod compare;
pub mod error;
pub mod format;
pub mod kept;
pub mod lineage;
pub mod memory_file;
pub mod merge;
pub mod new_file;
pub mod pair;
pub mod raw;
#[cfg(test)]
mod samples;
pub mod show;
pub mod spec;
pub mod store;
pub mod turn;
pub mod unwritten;

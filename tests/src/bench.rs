//! Benchmarks: what is measured, how figures are told, and whom we compare with.

pub mod compare;
pub mod exits;
pub mod figures;
pub mod load;
pub mod resident;

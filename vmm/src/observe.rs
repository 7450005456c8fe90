//! What a user can see of the VMM itself.

pub mod logger;
pub mod start;

//! What a user can see of the VMM itself.

pub mod events;
pub mod logger;
pub mod metrics;
pub mod openmetrics;
pub mod output;
pub mod start;
pub mod stderr;

//! What a user can see of the VMM itself.

mod bracketed;
pub mod events;
pub mod logger;
pub mod metrics;
pub mod openmetrics;
pub mod output;
pub mod requests;
pub mod start;
pub mod stderr;

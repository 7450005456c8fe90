//! What is told of a migration.

use serde::Serialize;

/// A machine that is elsewhere now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Migrated {
    /// How often memory was sent: all of it, what was written meanwhile, and what was left in the end.
    pub rounds: u32,
    /// Pages of 4096 bytes that were sent with what is in them; one that was written to again is counted again.
    pub pages: u64,
    /// Pages of which only was said that they are zero.
    pub zero_pages: u64,
    /// Bytes that went to the target, all in all.
    pub bytes: u64,
    /// Bytes of memory in a second, while the machine ran.
    pub bytes_per_second: u64,
    /// Milliseconds in which the machine ran nowhere; 0 of one that was paused.
    pub downtime_ms: f64,
    /// Milliseconds until it ran there.
    pub total_ms: f64,
}

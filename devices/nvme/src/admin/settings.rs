//! What the host has set by Set Features and the controller only keeps.

use serde::{Deserialize, Serialize};

/// The features (NVMe base specification 1.4, figure 275) that there are.
pub mod feature {
    /// How commands of several queues are chosen from.
    pub const ARBITRATION: u8 = 0x01;
    /// The power state, of which there is one.
    pub const POWER: u8 = 0x02;
    /// From which temperature on to warn.
    pub const TEMPERATURE: u8 = 0x04;
    /// How errors are recovered from.
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// The volatile write cache.
    pub const WRITE_CACHE: u8 = 0x06;
    /// Numbers of I/O queues.
    pub const QUEUES: u8 = 0x07;
    /// How completions may wait for others before they interrupt.
    pub const COALESCING: u8 = 0x08;
    /// The same for one vector.
    pub const VECTOR: u8 = 0x09;
    /// What writes are atomic.
    pub const ATOMICITY: u8 = 0x0a;
    /// Which events are told.
    pub const EVENTS: u8 = 0x0b;
}

/// In doubleword 11 of error recovery: errors for what was deallocated.
pub const DEALLOCATED_ERRORS: u32 = 1 << 16;
/// All of doubleword 11 of coalescing that counts.
pub const COALESCING: u32 = 0xffff;
/// The same of atomicity.
pub const ATOMICITY: u32 = 1;

/// What was set since the reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of [`feature::ARBITRATION`].
    pub arbitration: u32,
    /// Of [`feature::ERROR_RECOVERY`].
    pub error_recovery: u32,
    /// Of [`feature::COALESCING`].
    pub coalescing: u32,
    /// Of [`feature::ATOMICITY`].
    pub atomicity: u32,
    /// Of [`feature::VECTOR`]: those that coalescing is switched off for.
    pub uncoalesced: Vec<bool>,
}

impl Settings {
    /// Whether a host can have set it, for so many vectors.
    pub fn is_possible(&self, vectors: u16) -> bool {
        self.error_recovery & DEALLOCATED_ERRORS == 0
            && self.coalescing & !COALESCING == 0
            && self.atomicity & !ATOMICITY == 0
            && self.uncoalesced.len() == usize::from(vectors)
    }

    /// As after a reset, for so many vectors.
    pub fn new(vectors: u16) -> Settings {
        Settings {
            // No limit of commands in a row.
            arbitration: 7,
            error_recovery: 0,
            coalescing: 0,
            atomicity: 0,
            uncoalesced: vec![false; vectors.into()],
        }
    }
}

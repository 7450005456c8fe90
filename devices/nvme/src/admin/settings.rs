//! What the host has set by Set Features and the controller only keeps.

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

/// What was set since the reset.
#[derive(Clone, Debug, PartialEq, Eq)]
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

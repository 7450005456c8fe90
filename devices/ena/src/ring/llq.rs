//! Entries of low-latency queues: descriptors and the packet's first bytes, pushed by the driver
//! into the card's own memory (specification 7.5).

use super::BadRing;

/// How many descriptors an entry holds that is not its packet's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stride {
    Single,
    /// As many as go in.
    Multiple,
}

/// What the driver chose by SET feature 4; it holds for queues created later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlqPolicy {
    /// Bytes: 128, 192 or 256.
    pub entry_size: u16,
    /// 1, 2, 4 or 8.
    pub descriptors_before_header: u8,
    pub stride: Stride,
}

impl LlqPolicy {
    /// Checks the numbers, and that there is room for a header.
    pub fn check(&self) -> Result<(), BadRing> {
        let numbers = matches!(self.entry_size, 128 | 192 | 256)
            && matches!(self.descriptors_before_header, 1 | 2 | 4 | 8);
        if numbers && self.header_room() > 0 { Ok(()) } else { Err(BadRing::Policy) }
    }

    /// Most bytes of a packet that are pushed.
    pub fn header_room(&self) -> u16 {
        self.entry_size.saturating_sub(u16::from(self.descriptors_before_header).saturating_mul(16))
    }
}

//! Completion queues: entries whose phase bit appears last (specification 7.4 and 7.10).

use device_core::GuestRam;

use super::{BadRing, check_ring};

/// Bytes of a word.
const WORD: usize = 4;

/// A completion queue as CREATE_CQ made it; which direction is known once a submission queue comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CqConfig {
    /// Guest address, aligned to 8.
    pub base: u64,
    /// Entries, a power of two.
    pub depth: u16,
    /// 32-bit words per entry: 2 or 4 for transmit, 4 or 8 for receive.
    pub entry_words: u8,
}

impl CqConfig {
    /// Checks all that can be checked before the direction is known.
    pub fn check(&self, memory: &GuestRam) -> Result<(), BadRing> {
        if !matches!(self.entry_words, 2 | 4 | 8) {
            return Err(BadRing::EntryWords(self.entry_words));
        }
        let entry_len = usize::from(self.entry_words).saturating_mul(WORD);
        check_ring(memory, self.base, self.depth, entry_len)
    }
}

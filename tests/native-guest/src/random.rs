//! Numbers as by chance.

/// A sequence of them (Marsaglia's xorshift); never begun with 0.
pub struct Random(pub u64);

impl Random {
    /// Any.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Small numbers as often as large ones.
    pub fn of_any_size(&mut self, most_bits: u64) -> u64 {
        let bits = self.below(most_bits + 1);
        self.next() & ((1u64 << bits) - 1)
    }
}

//! Choices of a guest that does anything: read from bytes, so that a fuzzer and a property test make the same.

/// Choices, until there are no more; then zeros.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Those that `bytes` make.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Any 16 bits.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Often small, sometimes anything.
    pub fn word(&mut self) -> u32 {
        match self.byte() % 4 {
            0 => self.byte().into(),
            1 => self.half().into(),
            2 => 1 << (self.byte() % 32),
            _ => u32::from(self.half()) << 16 | u32::from(self.half()),
        }
    }

    /// Several such words.
    pub fn words<const N: usize>(&mut self) -> [u32; N] {
        std::array::from_fn(|_| self.word())
    }

    /// One of these, of which there is one at least.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}

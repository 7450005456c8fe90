//! The Toeplitz hash by tables: one look-up per byte of input, for any key.

/// Bytes of a key, and so of the longest input plus the hash itself.
pub const KEY_LEN: usize = 40;
/// Longest input: IPv6 addresses and ports.
pub const MAX_INPUT: usize = KEY_LEN - 4;

/// A hash key, its first byte used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; KEY_LEN]);

impl Key {
    /// The key as an ENA driver writes it: last byte first (ENA spec 8.1).
    pub fn reversed(mut self) -> Key {
        self.0.reverse();
        self
    }

    /// The 32 bits of the key from bit `at` on; zeros behind its end.
    fn window(&self, at: usize) -> u32 {
        let bit = |n: usize| {
            let byte = self.0.get(n >> 3).copied().unwrap_or_default();
            u32::from(byte >> (7 & !n) & 1)
        };
        (at..at.wrapping_add(32)).fold(0, |window, n| window << 1 | bit(n))
    }
}

/// The hashes of every byte at every place of the input: 36 KiB per key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toeplitz {
    rows: [[u32; 256]; MAX_INPUT],
}

impl Toeplitz {
    /// The tables for `key`.
    pub fn new(key: &Key) -> Toeplitz {
        let mut rows = [[0; 256]; MAX_INPUT];
        for (place, row) in rows.iter_mut().enumerate() {
            // Bytes below 1, 2, 4 .. 128 are known; as many more have the next bit set besides.
            for bit in 0..8usize {
                let window = key.window(place.wrapping_mul(8).wrapping_add(7 ^ bit));
                let (known, next) = row.split_at_mut(1 << bit);
                for (hash, without) in next.iter_mut().zip(known) {
                    *hash = *without ^ window;
                }
            }
        }
        Toeplitz { rows }
    }

    /// The hash of up to [`MAX_INPUT`] bytes; more are ignored.
    #[inline]
    pub fn hash(&self, input: &[u8]) -> u32 {
        self.hash_at(0, input)
    }

    /// What these bytes add to a hash if they are the input from `place` on.
    #[inline]
    pub fn hash_at(&self, place: usize, bytes: &[u8]) -> u32 {
        let places = self.rows.get(place..).unwrap_or_default().iter().zip(bytes);
        // A byte is always within its row.
        places.fold(0, |hash, (row, byte)| hash ^ row.get(usize::from(*byte)).unwrap_or(&0))
    }

    /// The same of so many bytes at a place that is known beforehand.
    #[inline]
    pub fn hash_part<const PLACE: usize, const N: usize>(&self, bytes: &[u8; N]) -> u32 {
        const { assert!(PLACE + N <= MAX_INPUT) };
        self.hash_at(PLACE, bytes)
    }

    /// All rows, for whoever hashes elsewhere.
    pub fn rows(&self) -> &[[u32; 256]; MAX_INPUT] {
        &self.rows
    }
}

#[cfg(test)]
#[path = "toeplitz_test.rs"]
mod tests;

//! Little-endian fields of a structure on its way to the guest.

/// Bytes that are filled in field by field; offsets count from their beginning.
pub trait PutLe {
    /// All of them.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Stores `bytes` at `at`; what would not fit is not stored.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = self.bytes_mut().get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }

    /// Stores 8 bits at byte `at`.
    fn put_byte(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }

    /// Stores 16 bits from byte `at` on.
    fn put_half(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 32 bits from byte `at` on.
    fn put_word(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 64 bits from byte `at` on.
    fn put_double(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 128 bits from byte `at` on.
    fn put_wide(&mut self, at: usize, value: u128) {
        self.put(at, &value.to_le_bytes());
    }
}

impl<const N: usize> PutLe for [u8; N] {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_none_reaches_over_the_end() {
        let mut bytes = [0; 8];
        bytes.put_byte(0, 1);
        bytes.put_half(1, 0x0302);
        bytes.put_word(3, 0x0706_0504);
        bytes.put(7, &[8]);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        bytes.put_word(5, 0);
        bytes.put_double(usize::MAX, 0);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8], "there is no room for these");
    }
}

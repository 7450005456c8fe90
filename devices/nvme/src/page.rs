//! A page of data on its way to the host, filled in field by field.

use crate::abi::PAGE;

/// 4 KiB, zero where nothing was put.
pub struct Page(Box<[u8]>);

impl Default for Page {
    fn default() -> Page {
        Page(vec![0; PAGE as usize].into())
    }
}

impl Page {
    /// Stores `bytes` at `at`; what would not fit is not stored.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = self.0.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }

    /// Stores 8 bits at byte `at`.
    pub fn put_byte(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }

    /// Stores 16 bits from byte `at` on, little-endian.
    pub fn put_half(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 32 bits from byte `at` on, little-endian.
    pub fn put_word(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 64 bits from byte `at` on, little-endian.
    pub fn put_double(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores 128 bits from byte `at` on, little-endian.
    pub fn put_wide(&mut self, at: usize, value: u128) {
        self.put(at, &value.to_le_bytes());
    }

    /// Stores `text` in `len` bytes from byte `at` on, spaces behind it.
    pub fn put_text(&mut self, at: usize, len: usize, text: &str) {
        let bytes: Vec<u8> = text.bytes().chain(std::iter::repeat(b' ')).take(len).collect();
        self.put(at, &bytes);
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

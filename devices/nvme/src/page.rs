//! A page of data on its way to the host, filled in field by field.

use device_core::fields::PutLe;

use crate::abi::PAGE;

/// 4 KiB, zero where nothing was put.
pub struct Page(Box<[u8]>);

impl Default for Page {
    fn default() -> Page {
        Page(vec![0; PAGE as usize].into())
    }
}

impl PutLe for Page {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Page {
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

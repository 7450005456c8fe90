//! What direct I/O wants of memory and offsets.

use std::fs::File;

use super::host;
use super::medium::{Medium, PAGE};

/// Powers of two that a read or write past the page cache is to be a multiple of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Addresses of buffers.
    pub memory: u32,
    /// Offsets in the file, and lengths of each buffer.
    pub block: u32,
}

impl Alignment {
    /// Whether `offset` and `len` are whole blocks.
    pub fn fits(self, offset: u64, len: u64) -> bool {
        (offset | len) & u64::from(self.block.wrapping_sub(1)) == 0
    }

    /// Whether a buffer may be given to the host as it is.
    pub fn takes(self, buffer: &libc::iovec) -> bool {
        let (memory, block) = (self.memory.wrapping_sub(1), self.block.wrapping_sub(1));
        buffer.iov_base as usize & memory as usize == 0 && buffer.iov_len & block as usize == 0
    }
}

/// What this file wants; `None` if it has no direct I/O.
///
/// What is no whole block goes through the page cache, a page at a time. Where blocks are smaller than pages
/// but larger than sectors, a page that is written back could overwrite a block beside it; so blocks count
/// as pages there.
pub(super) fn alignment(file: &File, medium: Medium) -> Option<Alignment> {
    let (memory, block) = match (host::direct_io(file), medium) {
        (Some(said), _) => said,
        (None, Medium::Device { block }) => (block, block),
        (None, Medium::File) => (PAGE, PAGE),
    };
    if memory == 0 || block == 0 || !memory.is_power_of_two() || !block.is_power_of_two() {
        return None;
    }
    let block = if block <= 512 { 512 } else { block.max(PAGE) };
    // The buffers we bring ourselves are aligned to pages.
    (memory <= PAGE && block <= 64 * 1024).then_some(Alignment { memory, block })
}

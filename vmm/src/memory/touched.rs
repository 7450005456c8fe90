//! Which pages of this process anybody has touched, by the kernel's map of them (Linux
//! `Documentation/admin-guide/mm/pagemap.rst`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use super::PAGE;

/// A page that is in memory, or in swap.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// A page of a file, or of memory that is shared.
const SHARED: u64 = 1 << 61;
/// Bytes that the map has for each page.
const ENTRY: usize = 8;

/// Opened once: a thread that is shut in has no paths. It is the map of the process that opened it, and not of one that
/// is forked from it.
static MAP: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/self/pagemap").ok());

/// Makes it possible to look when no file can be opened any more.
pub fn begin() {
    LazyLock::force(&MAP);
}

/// The map, as far as the host shows it.
pub struct Touched {
    map: Option<&'static File>,
    entries: Vec<u8>,
}

impl Touched {
    /// Where there is none, as without `/proc`, all pages count as touched.
    pub fn look() -> Touched {
        Touched { map: MAP.as_ref(), entries: Vec::new() }
    }

    /// Which of the whole pages of `len` bytes from `address` on are this process's own, and of no file that is mapped there.
    pub fn own(&mut self, address: u64, len: usize) -> Vec<bool> {
        let is_read = self.read(address, len);
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        let is_own = |entry: u64| entry & (PRESENT | SWAPPED) != 0 && entry & SHARED == 0;
        let own = |entry: &[u8; ENTRY]| !is_read || is_own(u64::from_ne_bytes(*entry));
        entries.iter().map(own).collect()
    }

    /// Whether one of the pages of `len` bytes from `address` on is touched.
    pub fn any(&mut self, address: u64, len: usize) -> bool {
        if !self.read(address, len) {
            return true;
        }
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        entries.iter().any(|entry| u64::from_ne_bytes(*entry) & (PRESENT | SWAPPED) != 0)
    }

    /// Reads the entries of these pages. Whether that was possible.
    fn read(&mut self, address: u64, len: usize) -> bool {
        self.entries.resize(len.div_ceil(PAGE).saturating_mul(ENTRY), 0);
        let first = (address / PAGE as u64).saturating_mul(ENTRY as u64);
        let Some(map) = &self.map else { return false };
        map.read_exact_at(&mut self.entries, first).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::memory::{Pages, map, release};

    #[test]
    fn a_page_is_touched_once_somebody_writes_to_it() {
        let ram = map(64 << 20, Pages::Small).unwrap();
        let start = ram.iter().next().unwrap().as_ptr().addr() as u64;
        let mut touched = Touched::look();
        assert!(!touched.any(start, 64 << 20));
        ram.write_obj(1u8, GuestAddress(40 << 20)).unwrap();
        assert!(touched.any(start, 64 << 20));
        assert!(touched.any(start + (40 << 20), PAGE));
        assert!(!touched.any(start, 32 << 20));
        release(ram);
    }
}

//! Which pages of this process anybody has touched, by the kernel's map of them (Linux
//! `Documentation/admin-guide/mm/pagemap.rst`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use super::PAGE;
use super::pages::PageSet;

/// A page that is in memory, or in swap.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// What is present is a file's, and what is in swap is of a file in memory.
const OF_FILE: u64 = 1 << 61;
/// Pages that are looked at in one go.
const STEP: u64 = 8192;
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

    /// All pages count as touched.
    pub fn all() -> Touched {
        Touched { map: None, entries: Vec::new() }
    }

    /// Adds those of `count` pages from `address` on to `to` that are touched; the first of them is page `first` there.
    pub fn add_present(&mut self, address: u64, count: u64, first: u64, to: &mut PageSet) {
        self.add(address, count, first, to, is_touched);
    }

    /// The same of those that are no longer what a file has, of pages that are mapped from one privately.
    pub fn add_private(&mut self, address: u64, count: u64, first: u64, to: &mut PageSet) {
        self.add(address, count, first, to, is_private);
    }

    /// Which of the whole pages of `len` bytes from `address` on are this process's own, and of no file that is mapped there.
    pub fn own(&mut self, address: u64, len: usize) -> Vec<bool> {
        let is_read = self.read(address, (len / PAGE) as u64);
        self.entries().map(|entry| !is_read || is_private(entry)).collect()
    }

    /// Whether one of the pages of `len` bytes from `address` on is touched.
    pub fn any(&mut self, address: u64, len: usize) -> bool {
        !self.read(address, len.div_ceil(PAGE) as u64) || self.entries().any(is_touched)
    }

    fn add(&mut self, address: u64, count: u64, first: u64, to: &mut PageSet, is: fn(u64) -> bool) {
        let mut done = 0u64;
        while done < count {
            let step = (count - done).min(STEP);
            let at = address.saturating_add(done.saturating_mul(PAGE as u64));
            match self.read(at, step) {
                true => {
                    for (page, _) in
                        (first + done..).zip(self.entries()).filter(|(_, entry)| is(*entry))
                    {
                        to.add(page, 1);
                    }
                }
                // Whatever it is.
                false => to.add(first + done, step),
            }
            done += step;
        }
    }

    /// Reads the entries of `count` pages from `address` on. Whether that was possible.
    fn read(&mut self, address: u64, count: u64) -> bool {
        self.entries.resize(count as usize * ENTRY, 0);
        let at = (address / PAGE as u64).saturating_mul(ENTRY as u64);
        self.map.is_some_and(|map| map.read_exact_at(&mut self.entries, at).is_ok())
    }

    /// Those that were read.
    fn entries(&self) -> impl Iterator<Item = u64> {
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        entries.iter().map(|entry| u64::from_ne_bytes(*entry))
    }
}

fn is_touched(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0
}

fn is_private(entry: u64) -> bool {
    is_touched(entry) && entry & OF_FILE == 0
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::memory::{Pages, map, release, restored};

    /// The pages of 64 MiB from `start` on that are touched, or private.
    fn pages(start: u64, private: bool) -> Vec<(u64, u64)> {
        let mut set = PageSet::none(64 << 20);
        let mut touched = Touched::look();
        match private {
            true => touched.add_private(start, 16384, 0, &mut set),
            false => touched.add_present(start, 16384, 0, &mut set),
        }
        set.runs().collect()
    }

    #[test]
    fn a_page_is_touched_once_somebody_writes_to_it() {
        let ram = map(64 << 20, Pages::Small).unwrap();
        let start = ram.iter().next().unwrap().as_ptr().addr() as u64;
        assert_eq!(pages(start, false), []);
        ram.write_obj(1u8, GuestAddress(40 << 20)).unwrap();
        // With its neighbours, where the host has huge pages.
        let runs = pages(start, false);
        let (first, count) = runs[0];
        assert!(runs.len() == 1 && first <= 10240 && first + count > 10240 && count <= 512);
        release(ram);
    }

    #[test]
    fn of_a_file_pages_are_private_once_somebody_writes_to_them() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let ram = restored::map(64 << 20, &file).unwrap();
        let start = ram.iter().next().unwrap().as_ptr().addr() as u64;
        ram.read_obj::<u8>(GuestAddress(8 << 20)).unwrap();
        assert!(!pages(start, false).is_empty());
        assert_eq!(pages(start, true), []);
        ram.write_obj(1u8, GuestAddress((8 << 20) + 4096)).unwrap();
        ram.write_obj(1u8, GuestAddress(40 << 20)).unwrap();
        assert_eq!(pages(start, true), [(2049, 1), (10240, 1)]);
        release(ram);
    }
}

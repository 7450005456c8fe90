//! Giving guest memory back to the host, by what backs it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use device_core::GuestRam;
use device_core::memory::RamSlice;
use device_core::reclaim::{Reclaim, ReclaimError};
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use super::{HUGE_PAGE, PAGE, Pages};

/// Gives back pages of one machine's RAM.
pub struct Reclaimer {
    ram: GuestRam,
    granule: usize,
    /// Whether pages that nobody has touched are those of a file.
    is_of_file: AtomicBool,
    /// Whether some of it has gone back since it was mapped.
    gave_back: AtomicBool,
}

impl Reclaimer {
    /// For RAM that [`super::map_all`] made of such `pages`.
    pub fn new(ram: &GuestRam, pages: Pages) -> Reclaimer {
        let granule = match pages {
            Pages::Small => PAGE,
            Pages::Huge => HUGE_PAGE,
        };
        Reclaimer {
            ram: ram.clone(),
            granule,
            is_of_file: AtomicBool::new(false),
            gave_back: AtomicBool::new(false),
        }
    }

    /// For RAM that [`super::restored::map_all`] made.
    pub fn of_file(ram: &GuestRam) -> Reclaimer {
        let reclaimer = Reclaimer::new(ram, Pages::Small);
        reclaimer.is_of_file_now();
        reclaimer
    }

    /// The RAM has been mapped from a file while it rests.
    pub fn is_of_file_now(&self) {
        self.is_of_file.store(true, Ordering::Relaxed);
        self.gave_back.store(false, Ordering::Relaxed);
    }

    /// Whether some of the RAM has gone back since all of it was mapped.
    pub fn gave_back(&self) -> bool {
        self.gave_back.load(Ordering::Relaxed)
    }

    /// Gives back a part of RAM, as far as it is whole granules; how many bytes that were. It is noted that they are
    /// zero from now on if they `had` something. Fails if the host refuses.
    pub fn discard_part(&self, part: &RamSlice<'_>, had: bool) -> io::Result<usize> {
        // Regions begin at a huge page, on both sides.
        let at = part.ptr_guard_mut().as_ptr();
        let skipped = at.align_offset(self.granule);
        let whole = part.len().saturating_sub(skipped) & !(self.granule - 1);
        if whole == 0 {
            return Ok(0);
        }
        if had {
            // Before they go: that they are zero is a change, and no other way to tell sees it.
            part.bitmap().give_back(skipped, whole);
        }
        self.gave_back.store(true, Ordering::Relaxed);
        discard(at.wrapping_add(skipped), whole, self.is_of_file.load(Ordering::Relaxed))?;
        if had {
            // And once they are gone: who took the first note while they went may have read what was there.
            part.bitmap().give_back(skipped, whole);
        }
        Ok(whole)
    }
}

/// Gives `len` bytes of RAM from `at` on back, so that they read as zeroes. Fails if the host refuses.
fn discard(at: *mut u8, len: usize, is_of_file: bool) -> io::Result<()> {
    const ACCESS: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
    const ZEROES: libc::c_int =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let done = match is_of_file {
        // SAFETY: the caller's pages are private memory of the guest, which stays mapped; nobody makes a reference to
        // it, and that it reads as zeroes afterwards is what was asked for.
        false => unsafe { libc::madvise(at.cast(), len, libc::MADV_DONTNEED) == 0 },
        // SAFETY: as above. Of a file they would read as they are there: others take their place.
        true => unsafe { libc::mmap(at.cast(), len, ACCESS, ZEROES, -1, 0) != libc::MAP_FAILED },
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Reclaim for Reclaimer {
    fn granule(&self) -> u64 {
        self.granule as u64
    }

    fn is_ram(&self, start: u64, len: u64) -> bool {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.ram.check_range(GuestAddress(start), len, Permissions::ReadWrite)
    }

    fn discard(&self, start: u64, len: u64) -> Result<u64, ReclaimError> {
        if !self.is_ram(start, len) {
            return Err(ReclaimError::OutsideRam);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let outside = |_| ReclaimError::OutsideRam;
        let pieces =
            GuestMemory::get_slices(&*self.ram, GuestAddress(start), len, Permissions::ReadWrite);
        let mut freed = 0;
        for piece in pieces.map_err(outside)? {
            let piece = piece.map_err(outside)?;
            freed += self.discard_part(&piece, true)? as u64;
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;
    use crate::memory::{map, release};

    /// How many of `pages` pages from guest-physical `start` on the host has in memory.
    fn resident(ram: &GuestRam, start: u64, pages: usize) -> usize {
        let slice = device_core::memory::slice(ram, start, pages * PAGE).unwrap();
        let mut seen = vec![0u8; pages];
        let at = slice.ptr_guard().as_ptr().cast_mut();
        // SAFETY: a mapping of that length, and a byte for each page.
        let result = unsafe { libc::mincore(at.cast(), slice.len(), seen.as_mut_ptr()) };
        assert_eq!(result, 0);
        seen.iter().filter(|page| **page & 1 != 0).count()
    }

    #[test]
    fn whole_pages_go_and_read_as_zeroes() {
        let ram = map(16 << 20, Pages::Small).unwrap();
        let reclaim = Reclaimer::new(&ram, Pages::Small);
        ram.write_slice(&vec![7; 64 * PAGE], GuestAddress(0x10_0000)).unwrap();
        assert_eq!(resident(&ram, 0x10_0000, 64), 64);

        assert_eq!(reclaim.discard(0x10_0000 + 1, 10 * PAGE as u64).unwrap(), 9 * PAGE as u64);
        assert_eq!(resident(&ram, 0x10_1000, 9), 0);
        let byte = |at: u64| ram.read_obj::<u8>(GuestAddress(at)).unwrap();
        assert_eq!((byte(0x10_0fff), byte(0x10_1000), byte(0x10_a000)), (7, 0, 7));
        assert_eq!(reclaim.discard(0x10_b001, PAGE as u64).unwrap(), 0);
        assert_eq!(byte(0x10_b800), 7);
        drop(reclaim);
        release(ram);
    }

    #[test]
    fn it_goes_on_over_the_end_of_a_region_and_not_beside_one() {
        let ram = map(3 << 30, Pages::Small).unwrap();
        let reclaim = Reclaimer::new(&ram, Pages::Small);
        for (start, len) in [(3 << 30, 1), ((3 << 30) - 4096, 4097), (u64::MAX, 2), (0, u64::MAX)] {
            assert!(
                matches!(reclaim.discard(start, len), Err(ReclaimError::OutsideRam)),
                "{start}"
            );
            assert!(!reclaim.is_ram(start, len));
        }
        assert_eq!(reclaim.discard((3 << 30) - 4096, 4096).unwrap(), 4096);
        assert_eq!(reclaim.discard(5 << 20, 0).unwrap(), 0);
    }

    #[test]
    fn of_a_file_pages_go_and_read_as_zeroes_and_not_as_the_file_has_them() {
        use std::os::unix::fs::FileExt;

        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; 16 * PAGE], 0).unwrap();
        file.set_len(4 << 20).unwrap();
        let ram = crate::memory::restored::map(4 << 20, &file).unwrap();
        let reclaim = Reclaimer::of_file(&ram);
        let byte = |at: u64| ram.read_obj::<u8>(GuestAddress(at)).unwrap();
        assert_eq!((byte(0), byte(0x1000)), (7, 7));
        assert_eq!(reclaim.discard(0x1000, 2 * PAGE as u64).unwrap(), 2 * PAGE as u64);
        assert_eq!([byte(0xfff), byte(0x1000), byte(0x2fff), byte(0x3000)], [7, 0, 0, 7]);
        ram.write_obj(9u8, GuestAddress(0x1000)).unwrap();
        assert_eq!(byte(0x1000), 9);
        drop(reclaim);
        release(ram);
    }

    #[test]
    fn of_huge_pages_only_whole_ones_go() {
        let ram = map(16 << 20, Pages::Small).unwrap();
        let reclaim = Reclaimer { granule: HUGE_PAGE, ..Reclaimer::new(&ram, Pages::Small) };
        assert_eq!(reclaim.discard(0, (2 << 20) - 4096).unwrap(), 0);
        assert_eq!(reclaim.discard(4096, 4 << 20).unwrap(), 2 << 20);
    }
}

//! RAM whose content is that of a file, page by page as it is touched.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use device_core::GuestRam;
use vm_memory::MmapRegion;

use super::{ACCESS, Extent, Mapping, take_aligned};

const KIND: libc::c_int = libc::MAP_PRIVATE | libc::MAP_NORESERVE;

/// Maps memory as [`super::map_all`] does, filled from `file`, where regions lie one behind the other, in order of
/// their addresses. What is written stays in this process; the file must stay as it is as long as memory is mapped,
/// which is until [`super::release`]. Fails if the host has no room for it.
pub fn map_all(extent: &Extent, file: &File) -> io::Result<GuestRam> {
    let mut offset = 0u64;
    extent.regions(|len, _| {
        let mapping = map_region(len, file, offset)?;
        offset = offset.saturating_add(len as u64);
        Ok(mapping)
    })
}

/// The same of RAM alone.
#[cfg(test)]
pub fn map(bytes: u64, file: &File) -> io::Result<GuestRam> {
    map_all(&Extent::of(bytes), file)
}

/// Maps a part of a file at the start of a huge page, as all of RAM lies.
fn map_region(len: usize, file: &File, offset: u64) -> io::Result<Mapping> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let ram = take_aligned(len)?;
    let fixed = KIND | libc::MAP_FIXED;
    // SAFETY: it replaces the mapping from above, which nobody else knows of.
    let mapped = unsafe { libc::mmap(ram, len, ACCESS, fixed, file.as_raw_fd(), offset) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `len` bytes from `ram` are mapped with that access and kind, and never unmapped by it.
    unsafe { MmapRegion::build_raw(ram.cast(), len, ACCESS, KIND) }.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::memory::release;

    #[test]
    fn each_region_has_its_part_of_the_file_and_writes_stay_here() {
        let file = tempfile::tempfile().unwrap();
        let (low, all) = (3u64 << 30, (3u64 << 30) + (64 << 20));
        file.set_len(all).unwrap();
        for (offset, word) in [(0, 1u64), (low - 8, 2), (low, 3), (all - 8, 4)] {
            file.write_all_at(&word.to_ne_bytes(), offset).unwrap();
        }
        let ram = map(all, &file).unwrap();
        let word = |at| ram.read_obj::<u64>(GuestAddress(at)).unwrap();
        let high = 4u64 << 30;
        let ends = [word(0), word(low - 8), word(high), word(high + (64 << 20) - 8)];
        assert_eq!((ends, word(4096)), ([1, 2, 3, 4], 0));
        assert_eq!(ram.iter().count(), 2);

        ram.write_obj(7u64, GuestAddress(0)).unwrap();
        let mut first = [0; 8];
        file.read_exact_at(&mut first, 0).unwrap();
        assert_eq!((word(0), u64::from_ne_bytes(first)), (7, 1));
        release(ram);
    }
}

//! Guest memory with nothing beside it: an access past its end ends the process.

use std::sync::Arc;

use device_core::hot_region::Blocks;
use device_core::region::RamRegion;
use device_core::{GuestRam, Ram};
use vm_memory::MmapRegion;
use vm_memory::mmap::{MmapRegionBuilder, NewBitmap};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Address space without access on each side of a region: more than any frame is long.
const MOAT: usize = 16 << 20;

/// Zeroed RAM in these regions, as (start, length); lengths in whole pages. Never given back.
pub fn moated_ram(regions: &[(u64, usize)]) -> GuestRam {
    ram(regions, None)
}

/// The same, and behind it one of `len` bytes from `start` on that is plugged in such blocks, none of which is.
pub fn moated_ram_with_hot(
    regions: &[(u64, usize)],
    (start, len, block): (u64, usize, u64),
) -> GuestRam {
    ram(regions, Some((start, len, Arc::new(Blocks::new(len as u64, block)))))
}

fn ram(regions: &[(u64, usize)], hot: Option<(u64, usize, Arc<Blocks>)>) -> GuestRam {
    let plain = regions.iter().map(|&(start, len)| (start, len, None));
    let hot = hot.into_iter().map(|(start, len, blocks)| (start, len, Some(blocks)));
    let regions = plain.chain(hot).map(|(start, len, blocks)| {
        RamRegion::new(map(len), GuestAddress(start), blocks).expect("a region below 2^64")
    });
    Arc::new(Ram::from_regions(regions.collect()).expect("regions in order"))
}

fn map<B: NewBitmap>(len: usize) -> MmapRegion<B> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, which is nobody's and replaces nothing.
    let all =
        unsafe { libc::mmap(std::ptr::null_mut(), len + 2 * MOAT, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(all, libc::MAP_FAILED, "no address space for guest memory");
    let inner = all.cast::<u8>().wrapping_add(MOAT);
    // SAFETY: within the mapping just made, to which nobody else has a pointer.
    let result = unsafe { libc::mprotect(inner.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(result, 0, "no guest memory");
    let builder = MmapRegionBuilder::new_with_bitmap(len, B::with_len(len))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(flags);
    // SAFETY: the mapping is as long as said and lives as long as the process.
    let builder = unsafe { builder.with_raw_mmap_pointer(inner) };
    builder.build().expect("a mapping that exists")
}

/// Copies all bytes of all regions to `bytes`.
pub fn copy_to(memory: &GuestRam, bytes: &mut Vec<u8>) {
    bytes.resize(memory.iter().map(|region| region.len() as usize).sum(), 0);
    let mut rest = &mut bytes[..];
    for region in memory.iter() {
        let (now, later) = rest.split_at_mut(region.len() as usize);
        memory.read_slice(now, region.start_addr()).expect("a region is in memory");
        rest = later;
    }
}

pub fn clear(memory: &GuestRam) {
    static ZEROES: [u8; 0x1_0000] = [0; 0x1_0000];
    let parts = memory.iter().flat_map(|region| {
        region
            .parts()
            .map(|(at, len)| (region.start_addr().0 + at, region.start_addr().0 + at + len))
    });
    for (mut at, end) in parts {
        while at < end {
            let count = ZEROES.len().min((end - at) as usize);
            memory.write_slice(&ZEROES[..count], GuestAddress(at)).expect("in memory");
            at += count as u64;
        }
    }
}

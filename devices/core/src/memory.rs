//! Ranges of guest memory, looked up fast.

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, VolatileSlice};

use crate::Ram;

/// The `len` bytes of RAM at `addr`, if they lie in one region.
///
/// Rings are made of accesses to a few bytes each; this is several times faster than
/// `GuestMemory::get_slices`, which can also go from one region to the next.
#[inline]
pub fn slice(ram: &Ram, addr: u64, len: usize) -> Option<VolatileSlice<'_>> {
    let (region, offset) = ram.to_region_addr(GuestAddress(addr))?;
    region.get_slice(offset, len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ram_at;

    #[test]
    fn a_range_is_found_where_it_lies_in_one_region() {
        let ram = ram_at(&[(0, 0x1000), (0x1000, 0x1000), (0x4000, 0x1000)]);
        for (addr, len) in [(0, 0x1000), (0xfff, 1), (0x1000, 0x1000), (0x4ff0, 0x10)] {
            assert_eq!(slice(&ram, addr, len).map(|slice| slice.len()), Some(len), "{addr:#x}");
        }
        for (addr, len) in [(0xfff, 2), (0x2000, 1), (0x4ff0, 0x11), (u64::MAX, 1), (0, usize::MAX)]
        {
            assert!(slice(&ram, addr, len).is_none(), "{addr:#x}");
        }
    }
}

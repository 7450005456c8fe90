//! Ranges of guest memory, looked up fast.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, Relaxed};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, VolatileMemory, VolatileSlice,
};

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

/// Loads `N` doublewords, little-endian in memory, each in one piece; `None` unless all are in RAM.
/// `addr` is aligned to 8.
#[inline]
pub fn load_doubles<const N: usize>(ram: &Ram, addr: u64) -> Option<[u64; N]> {
    let mut doubles = [0; N];
    let places = doubles.iter_mut().enumerate().map(|(n, double)| (n * size_of::<u64>(), double));
    match slice(ram, addr, size_of::<[u64; N]>()) {
        Some(slice) => {
            for (at, double) in places {
                *double = u64::from_le(slice.get_atomic_ref::<AtomicU64>(at).ok()?.load(Relaxed));
            }
        }
        // In two regions, one behind the other.
        None => {
            for (at, double) in places {
                let at = GuestAddress(addr.checked_add(at as u64)?);
                *double = u64::from_le(ram.load(at, Relaxed).ok()?);
            }
        }
    }
    Some(doubles)
}

/// Stores doublewords, little-endian in memory, each in one piece and the first one last: who sees
/// it (acquire) sees the others, and all that was written before. `None` unless all are in RAM.
/// `addr` is aligned to 8.
#[inline]
pub fn store_doubles<const N: usize>(ram: &Ram, addr: u64, doubles: [u64; N]) -> Option<()> {
    let places = doubles.iter().enumerate().rev().map(|(n, double)| (n * size_of::<u64>(), double));
    let order = |at| if at == 0 { Ordering::Release } else { Relaxed };
    match slice(ram, addr, size_of::<[u64; N]>()) {
        Some(slice) => {
            for (at, double) in places {
                slice.get_atomic_ref::<AtomicU64>(at).ok()?.store(double.to_le(), order(at));
            }
        }
        None => {
            for (at, double) in places {
                let place = GuestAddress(addr.checked_add(at as u64)?);
                ram.store(double.to_le(), place, order(at)).ok()?;
            }
        }
    }
    Some(())
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

    #[test]
    fn doublewords_are_stored_and_loaded_wherever_they_lie() {
        let ram = ram_at(&[(0, 0x1000), (0x1000, 0x1000), (0x4000, 0x1000)]);
        for addr in [0, 0xff0, 0xff8, 0x1000, 0x4ff0] {
            let doubles = [0x0102_0304_0506_0708, addr];
            assert!(store_doubles(&ram, addr, doubles).is_some(), "{addr:#x}");
            assert_eq!(load_doubles(&ram, addr), Some(doubles), "{addr:#x}");
        }
        let mut bytes = [0; 8];
        ram.read_slice(&mut bytes, GuestAddress(0xff8)).unwrap();
        assert_eq!(bytes, [8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn doublewords_outside_of_memory_are_refused() {
        let ram = ram_at(&[(0, 0x1000), (0x4000, 0x1000)]);
        for addr in [0xff8, 0x1000, 0x4ff8, 4, u64::MAX - 7] {
            assert!(store_doubles(&ram, addr, [1, 2]).is_none(), "{addr:#x}");
            assert!(load_doubles::<2>(&ram, addr).is_none(), "{addr:#x}");
        }
    }
}

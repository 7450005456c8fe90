//! Ranges of guest memory, looked up fast.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, Relaxed};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress,
    VolatileMemory, VolatileSlice,
};

use crate::dirty::DirtySlice;
use crate::{GuestRam, Ram};

type Region = <Ram as GuestMemoryBackend>::R;
/// A part of it, whose writes are noted.
pub type RamSlice<'a> = VolatileSlice<'a, DirtySlice<'a>>;

/// The `len` bytes of RAM at `addr`, if they lie in one region.
///
/// Rings are made of accesses to a few bytes each; this is several times faster than
/// `GuestMemory::get_slices`, which can also go from one region to the next.
#[inline]
pub fn slice(ram: &Ram, addr: u64, len: usize) -> Option<RamSlice<'_>> {
    let (region, offset) = ram.to_region_addr(GuestAddress(addr))?;
    region.get_slice(offset, len).ok()
}

/// A range of guest memory that is gone to often, such as a ring: where it lies is found once.
///
/// Memory does not change while a handle on it lives. Offsets are checked against the range's
/// region on each access.
pub struct Span {
    ram: GuestRam,
    addr: u64,
    /// Number of the one region that holds all of it, and where it begins there.
    home: Option<(usize, u64)>,
}

impl Span {
    /// The `len` bytes at `addr`; whether they are RAM shows on access.
    pub fn new(ram: GuestRam, addr: u64, len: usize) -> Span {
        let within = |region: &Region| {
            let offset = addr.checked_sub(region.start_addr().0)?;
            region.get_slice(MemoryRegionAddress(offset), len).ok().map(|_| offset)
        };
        let home = ram.iter().enumerate().find_map(|(n, region)| Some((n, within(region)?)));
        Span { ram, addr, home }
    }

    /// The `len` bytes from byte `at` on; `None` also for a range in several regions.
    #[inline]
    fn slice(&self, at: u64, len: usize) -> Option<RamSlice<'_>> {
        let (region, begin) = self.home?;
        let offset = MemoryRegionAddress(begin.checked_add(at)?);
        self.ram.iter().nth(region)?.get_slice(offset, len).ok()
    }

    /// Fills `bytes` from byte `at` on; `None` unless all are in RAM.
    #[inline]
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Option<()> {
        match self.slice(at, bytes.len()) {
            Some(slice) => slice.read_slice(bytes, 0).ok(),
            None => self.ram.read_slice(bytes, GuestAddress(self.addr.checked_add(at)?)).ok(),
        }
    }

    /// Loads `N` doublewords from byte `at` on, little-endian in memory, each in one piece; `None`
    /// unless all are in RAM and aligned.
    #[inline]
    pub fn load<const N: usize>(&self, at: u64) -> Option<[u64; N]> {
        let mut doubles = [0; N];
        let places = doubles.iter_mut().enumerate().map(|(n, to)| (n * size_of::<u64>(), to));
        match self.slice(at, size_of::<[u64; N]>()) {
            Some(slice) => {
                for (offset, to) in places {
                    let place = slice.get_atomic_ref::<AtomicU64>(offset).ok()?;
                    *to = u64::from_le(place.load(Relaxed));
                }
            }
            None => {
                for (offset, to) in places {
                    let place = self.addr.checked_add(at)?.checked_add(offset as u64)?;
                    *to = u64::from_le(self.ram.load(GuestAddress(place), Relaxed).ok()?);
                }
            }
        }
        Some(doubles)
    }

    /// Stores doublewords from byte `at` on, little-endian in memory, each in one piece and the
    /// first one last: who sees it (acquire) sees the others, and all that was written before.
    /// `None` unless all are in RAM and aligned.
    #[inline]
    pub fn store<const N: usize>(&self, at: u64, doubles: [u64; N]) -> Option<()> {
        let places = doubles.iter().enumerate().rev();
        let places = places.map(|(n, double)| (n * size_of::<u64>(), double.to_le()));
        let order = |offset| if offset == 0 { Ordering::Release } else { Relaxed };
        match self.slice(at, size_of::<[u64; N]>()) {
            Some(slice) => {
                for (offset, double) in places {
                    slice.store(double, offset, order(offset)).ok()?;
                }
            }
            None => {
                for (offset, double) in places {
                    let place = self.addr.checked_add(at)?.checked_add(offset as u64)?;
                    self.ram.store(double, GuestAddress(place), order(offset)).ok()?;
                }
            }
        }
        Some(())
    }
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
    fn a_span_is_read_and_written_wherever_it_lies() {
        let ram = ram_at(&[(0, 0x1000), (0x1000, 0x1000), (0x4000, 0x1000)]);
        for addr in [0, 0xff0, 0xff8, 0x1000, 0x4fe8] {
            let span = Span::new(ram.clone(), addr, 24);
            let doubles = [0x0102_0304_0506_0708, addr];
            assert!(span.store(8, doubles).is_some(), "{addr:#x}");
            assert_eq!(span.load(8), Some(doubles), "{addr:#x}");
            let mut bytes = [0; 16];
            assert!(span.read(8, &mut bytes).is_some());
            assert_eq!((bytes[..8].to_vec(), bytes[8]), (vec![8, 7, 6, 5, 4, 3, 2, 1], addr as u8));
        }
    }

    #[test]
    fn a_span_leads_nowhere_outside_of_memory() {
        let ram = ram_at(&[(0, 0x1000), (0x4000, 0x1000)]);
        for (addr, at) in [
            (0xff0, 8),
            (0x1000, 0),
            (0x4ff8, 0),
            (0, 4),
            (u64::MAX - 7, 0),
            (0x4000, u64::MAX - 7),
        ] {
            let span = Span::new(ram.clone(), addr, 16);
            assert!(span.store(at, [1, 2]).is_none(), "{addr:#x} {at:#x}");
            assert!(span.load::<2>(at).is_none(), "{addr:#x} {at:#x}");
            assert!(at == 4 || span.read(at, &mut [0; 16]).is_none(), "{addr:#x} {at:#x}");
        }
    }
}

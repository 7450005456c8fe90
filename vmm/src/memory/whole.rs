//! All of memory as one: regions one behind the other in order of their addresses, as in a file.

use std::fs::File;
use std::io;

use device_core::Ram;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::PAGE;
use super::pages::PageSet;
use super::sparse::{ZEROES, next_data};
use super::touched::Touched;

/// How many bytes there are.
pub fn bytes(ram: &Ram) -> u64 {
    ram.iter().map(GuestMemoryRegion::len).sum()
}

/// Pages that may have something: all that are in memory, and what is in no hole of the file that the others are
/// mapped from. To read the rest would bring it into memory.
pub fn with_something(ram: &Ram, mapped: Option<&File>, mut touched: Touched) -> PageSet {
    let bytes = bytes(ram);
    let mut set = PageSet::none(bytes);
    let mut first = 0u64;
    for region in ram.iter() {
        for (at, len) in region.parts() {
            let start = (region.as_ptr().addr() as u64).saturating_add(at);
            let (page, count) = (first.saturating_add(at / PAGE as u64), len / PAGE as u64);
            touched.add_present(start, count, page, &mut set);
        }
        first = first.saturating_add(region.len() / PAGE as u64);
    }
    let mut at = 0;
    while let Some((begin, end)) = mapped.and_then(|mapped| next_data(mapped, at, bytes)) {
        let first = begin / PAGE as u64;
        set.add(first, end.div_ceil(PAGE as u64).saturating_sub(first));
        at = end;
    }
    set
}

/// Reads memory from `offset` on, within one region. Fails if it has not so much.
pub fn read(ram: &Ram, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let (region, at) = region_at(ram, offset)?;
    region.read_slice(into, at).map_err(io::Error::other)
}

/// Writes `bytes` from `offset` on, whichever regions that is. Fails if memory has not so much.
pub fn write(ram: &Ram, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let (mut offset, mut left) = (offset, bytes);
    while !left.is_empty() {
        let (region, at) = region_at(ram, offset)?;
        let here = usize::try_from(region.len().saturating_sub(at.0)).unwrap_or(usize::MAX);
        let (now, later) = left.split_at(here.min(left.len()));
        region.write_slice(now, at).map_err(io::Error::other)?;
        offset = offset.saturating_add(now.len() as u64);
        left = later;
    }
    Ok(())
}

/// Makes a page zero that may be otherwise; one that is stays untouched. Fails if memory does not have it.
pub fn clear_page(ram: &Ram, page: u64) -> io::Result<()> {
    let offset = page.checked_mul(PAGE as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut now = [0; PAGE];
    read(ram, offset, &mut now)?;
    if now == ZEROES { Ok(()) } else { write(ram, offset, &ZEROES) }
}

type Region = <Ram as GuestMemoryBackend>::R;

/// The region that has the byte at `offset`, and where in it that is.
fn region_at(ram: &Ram, offset: u64) -> io::Result<(&Region, MemoryRegionAddress)> {
    let mut begin = 0u64;
    for region in ram.iter() {
        let end = begin.saturating_add(region.len());
        if offset < end {
            return Ok((region, MemoryRegionAddress(offset.saturating_sub(begin))));
        }
        begin = end;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Pages, map, release};

    #[test]
    fn what_is_written_over_the_gap_is_read_on_both_sides_and_nothing_is_behind_the_end() {
        let (low, all) = (3u64 << 30, (3u64 << 30) + (64 << 20));
        let ram = map(all, Pages::Small).unwrap();
        assert_eq!(bytes(&ram), all);
        write(&ram, low - 2, &[1, 2, 3, 4]).unwrap();
        let mut two = [0; 2];
        read(&ram, low - 2, &mut two).unwrap();
        assert_eq!(two, [1, 2]);
        read(&ram, low, &mut two).unwrap();
        assert_eq!(two, [3, 4]);
        assert!(write(&ram, all - 1, &[1, 2]).is_err() && read(&ram, all, &mut two).is_err());
        assert!(write(&ram, u64::MAX, &[1]).is_err() && clear_page(&ram, u64::MAX).is_err());
        clear_page(&ram, low / 4096).unwrap();
        read(&ram, low, &mut two).unwrap();
        assert_eq!(two, [0, 0]);
        assert!(with_something(&ram, None, Touched::look()).has(low / 4096 - 1));
        release(ram);
    }
}

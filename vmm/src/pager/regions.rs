//! Where guest memory lies, in our address space and in the memory's file.

use device_core::Ram;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// A part of memory that lies in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// In our address space.
    pub host: u64,
    /// Its bytes.
    pub len: u64,
    /// In the memory's file.
    pub offset: u64,
}

/// All of memory, in the order of the file.
#[derive(Clone, Debug)]
pub struct Regions(Vec<Region>);

impl Regions {
    /// Those of a machine's memory.
    pub fn of(ram: &Ram) -> Regions {
        let mut offset = 0u64;
        let region = |region: &<Ram as GuestMemoryBackend>::R| {
            let (host, len) = (region.as_ptr().addr() as u64, region.len());
            let this = Region { host, len, offset };
            offset = offset.saturating_add(len);
            this
        };
        Regions(ram.iter().map(region).collect())
    }

    /// One behind the other.
    pub fn iter(&self) -> impl Iterator<Item = Region> {
        self.0.iter().copied()
    }

    /// Bytes of them all, and so of the file.
    pub fn bytes(&self) -> u64 {
        self.iter().fold(0, |sum, region| sum.saturating_add(region.len))
    }

    /// Where in the file an address is.
    pub fn offset_of(&self, host: u64) -> Option<u64> {
        self.iter().find_map(|region| {
            let at = host.checked_sub(region.host).filter(|at| *at < region.len)?;
            region.offset.checked_add(at)
        })
    }

    /// Where a place of the file is in our address space, and how many bytes of the region are there and behind it.
    pub fn host_of(&self, offset: u64) -> Option<(u64, u64)> {
        self.iter().find_map(|region| {
            let at = offset.checked_sub(region.offset).filter(|at| *at < region.len)?;
            Some((region.host.checked_add(at)?, region.len.saturating_sub(at)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_place_in_the_file_and_the_other_way_round() {
        let low = Region { host: 0x10_0000, len: 0x4000, offset: 0 };
        let high = Region { host: 0x80_0000, len: 0x2000, offset: 0x4000 };
        let regions = Regions(vec![low, high]);
        assert_eq!(regions.bytes(), 0x6000);
        assert_eq!(regions.offset_of(0x10_3fff), Some(0x3fff));
        assert_eq!(regions.offset_of(0x10_4000), None);
        assert_eq!(regions.offset_of(0x80_1000), Some(0x5000));
        assert_eq!(regions.host_of(0x3000), Some((0x10_3000, 0x1000)));
        assert_eq!(regions.host_of(0x4000), Some((0x80_0000, 0x2000)));
        assert_eq!(regions.host_of(0x6000), None);
    }
}

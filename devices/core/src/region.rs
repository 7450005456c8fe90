//! A region of guest memory, of which blocks may be missing.

use std::ops::Deref;
use std::sync::Arc;

use vm_memory::bitmap::{BS, Bitmap};
use vm_memory::guest_memory::Result;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionMmap, GuestUsize, MemoryRegionAddress, MmapRegion, VolatileSlice,
};

use crate::hot_region::Blocks;

/// RAM from an address on. Whoever goes to a part of it by its address, as devices do, finds plugged blocks alone.
#[derive(Debug)]
pub struct RamRegion<B> {
    mapped: GuestRegionMmap<B>,
    /// Of a region of which some may be missing.
    blocks: Option<Arc<Blocks>>,
}

impl<B: Bitmap> RamRegion<B> {
    /// `mapping` from guest-physical `start` on, of which all is there, or `blocks` say what is. `None` if addresses
    /// end before it does.
    pub fn new(
        mapping: MmapRegion<B>,
        start: GuestAddress,
        blocks: Option<Arc<Blocks>>,
    ) -> Option<RamRegion<B>> {
        Some(RamRegion { mapped: GuestRegionMmap::new(mapping, start)?, blocks })
    }

    /// Which of its blocks are plugged, if that changes.
    pub fn blocks(&self) -> Option<&Arc<Blocks>> {
        self.blocks.as_ref()
    }

    /// Its parts that are there, each as where it begins and its bytes, in order and apart.
    pub fn parts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let blocks = self.blocks.as_deref();
        let whole = self.blocks.is_none().then_some((0, self.len()));
        let plugged = blocks.into_iter().flat_map(|blocks| {
            let bytes = |count: u64| count.saturating_mul(blocks.block_bytes());
            blocks.runs().map(move |(first, count)| (bytes(first), bytes(count)))
        });
        whole.into_iter().chain(plugged)
    }
}

/// Its mapping, missing blocks and all: for who owns the memory.
impl<B> Deref for RamRegion<B> {
    type Target = GuestRegionMmap<B>;

    fn deref(&self) -> &GuestRegionMmap<B> {
        &self.mapped
    }
}

impl<B: Bitmap> GuestMemoryRegion for RamRegion<B> {
    type B = B;

    fn len(&self) -> GuestUsize {
        self.mapped.len()
    }

    fn start_addr(&self) -> GuestAddress {
        self.mapped.start_addr()
    }

    fn bitmap(&self) -> BS<'_, B> {
        GuestMemoryRegion::bitmap(&self.mapped)
    }

    fn get_host_address(&self, addr: MemoryRegionAddress) -> Result<*mut u8> {
        self.mapped.get_host_address(addr)
    }

    fn file_offset(&self) -> Option<&FileOffset> {
        GuestMemoryRegion::file_offset(&self.mapped)
    }

    /// Of memory that is missing there is nothing. All ways to memory by guest addresses end here.
    #[inline]
    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, BS<'_, B>>> {
        if let Some(blocks) = &self.blocks
            && !blocks.hold(offset.0, count as u64)
        {
            return Err(GuestMemoryError::InvalidBackendAddress);
        }
        GuestMemoryRegion::get_slice(&self.mapped, offset, count)
    }

    /// All of it, missing blocks too: so snapshots read it.
    fn as_volatile_slice(&self) -> Result<VolatileSlice<'_, BS<'_, B>>> {
        self.mapped.as_volatile_slice()
    }

    fn is_hugetlbfs(&self) -> Option<bool> {
        GuestMemoryRegion::is_hugetlbfs(&self.mapped)
    }
}

impl<B: Bitmap> GuestMemoryRegionBytes for RamRegion<B> {}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemory, GuestMemoryBackend, Permissions};

    use super::*;
    use crate::Ram;
    use crate::memory::{Span, slice};

    const START: u64 = 0x10_0000;
    const BLOCK: u64 = 0x1000;

    fn ram() -> (Arc<Ram>, Arc<Blocks>) {
        let blocks = Arc::new(Blocks::new(8 * BLOCK, BLOCK));
        let low = MmapRegion::new(0x1000).unwrap();
        let hot = MmapRegion::new(8 * BLOCK as usize).unwrap();
        let regions = vec![
            RamRegion::new(low, GuestAddress(0), None).unwrap(),
            RamRegion::new(hot, GuestAddress(START), Some(blocks.clone())).unwrap(),
        ];
        (Arc::new(Ram::from_regions(regions).unwrap()), blocks)
    }

    #[test]
    fn by_its_address_only_what_is_plugged_is_found() {
        let (ram, blocks) = ram();
        let byte = |at: u64| ram.read_obj::<u8>(GuestAddress(at)).is_ok();
        let range = |at, len| {
            GuestMemory::check_range(&*ram, GuestAddress(at), len, Permissions::ReadWrite)
        };
        assert!(byte(0) && !byte(START) && !range(START, 1));
        blocks.set(2, 2, true);
        let plugged = START + 2 * BLOCK;
        assert!(byte(plugged) && byte(plugged + 2 * BLOCK - 1));
        assert!(!byte(plugged - 1) && !byte(plugged + 2 * BLOCK));
        assert!(range(plugged, 2 * BLOCK as usize) && !range(plugged, 2 * BLOCK as usize + 1));
        assert!(slice(&ram, plugged + BLOCK - 4, 8).is_some());
        assert!(slice(&ram, plugged + 2 * BLOCK - 4, 8).is_none());
        assert!(ram.write_obj(1u64, GuestAddress(plugged - 4)).is_err());
        let parts = |nth| ram.iter().nth(nth).unwrap().parts().collect::<Vec<_>>();
        assert_eq!((parts(0), parts(1)), (vec![(0, 0x1000)], vec![(2 * BLOCK, 2 * BLOCK)]));
    }

    #[test]
    fn a_place_that_was_found_is_lost_when_its_block_goes() {
        let (ram, blocks) = ram();
        blocks.set(0, 1, true);
        let span = Span::new(ram.clone(), START, 64);
        assert!(span.store(0, [7, 8]).is_some());
        blocks.set(0, 1, false);
        assert!(span.load::<2>(0).is_none() && span.store(0, [1, 2]).is_none());
        assert!(span.read(0, &mut [0; 8]).is_none());
        // Whoever owns the memory sees what is there.
        let region = ram.iter().nth(1).unwrap();
        assert_eq!(region.read_obj::<u64>(MemoryRegionAddress(0)).unwrap(), 7);
        blocks.set(0, 1, true);
        assert_eq!(span.load(0), Some([7, 8]));
    }
}

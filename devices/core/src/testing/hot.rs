//! A double of memory that is plugged block by block: blocks of RAM, and a host that may have no more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::MmapRegion;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::hot_region::{Blocks, HotRegion};
use crate::region::RamRegion;
use crate::{GuestRam, Ram};

/// Zeroed RAM in several regions, as (start, length), and behind them all one of `len` bytes from `start` on that is
/// plugged in such blocks, none of which is.
pub fn ram_with_hot(regions: &[(u64, usize)], (start, len, block): (u64, usize, u64)) -> GuestRam {
    let blocks = Arc::new(Blocks::new(len as u64, block));
    let region = |start, len, blocks| {
        RamRegion::new(MmapRegion::new(len).unwrap(), GuestAddress(start), blocks).unwrap()
    };
    let plain = regions.iter().map(|(start, len)| region(*start, *len, None));
    let all = plain.chain([region(start, len, Some(blocks))]).collect();
    Arc::new(Ram::from_regions(all).unwrap())
}

/// The last region of RAM, if it is plugged in blocks.
pub struct TestHotRegion {
    memory: GuestRam,
    nth: usize,
    start: u64,
    blocks: Arc<Blocks>,
    /// Bytes that the host has for it.
    room: AtomicU64,
}

impl TestHotRegion {
    /// That of `memory`, if there is one.
    pub fn of(memory: &GuestRam) -> Option<TestHotRegion> {
        let (nth, region) = memory.iter().enumerate().last()?;
        Some(TestHotRegion {
            memory: memory.clone(),
            nth,
            start: region.start_addr().0,
            blocks: region.blocks()?.clone(),
            room: AtomicU64::new(u64::MAX),
        })
    }

    /// From now on the host has so many bytes for all of it.
    pub fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
    }

    /// The first byte of each block, whether it is plugged or not.
    pub fn first_bytes(&self) -> Vec<u8> {
        let region = self.memory.iter().nth(self.nth).unwrap();
        let byte =
            |at| region.read_obj(MemoryRegionAddress(at * self.blocks.block_bytes())).unwrap();
        (0..self.blocks.count()).map(byte).collect()
    }
}

impl HotRegion for TestHotRegion {
    fn start(&self) -> u64 {
        self.start
    }

    fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    fn plug(&self, first: u64, count: u64) -> io::Result<()> {
        assert!(self.blocks.are_missing(first, count), "{first} {count}");
        let after = self.blocks.plugged_bytes() + count * self.blocks.block_bytes();
        if after > self.room.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.blocks.set(first, count, true);
        Ok(())
    }

    fn unplug(&self, first: u64, count: u64) -> io::Result<()> {
        assert!(self.blocks.are_plugged(first, count), "{first} {count}");
        self.blocks.set(first, count, false);
        let region = self.memory.iter().nth(self.nth).unwrap();
        let bytes = self.blocks.block_bytes();
        let zeroes = vec![0; bytes as usize];
        for block in first..first + count {
            region.write_slice(&zeroes, MemoryRegionAddress(block * bytes)).unwrap();
        }
        Ok(())
    }
}

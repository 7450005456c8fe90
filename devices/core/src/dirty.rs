//! Which pages of guest memory this process has written to, for snapshots of what has changed.
//!
//! What the guest writes, KVM knows. What our threads write, they note here: all safe ways to write to guest memory
//! end in [`DirtyPages::mark_dirty`], as it is the memory's own bitmap, and where the kernel writes for us
//! [`crate::scatter::Scatter::wrote`] comes afterwards.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestRegionCollection, MmapRegion};

use crate::region::RamRegion;

/// Bytes that one bit stands for, as in KVM's log.
pub const PAGE: usize = 4096;
const BITS: usize = u64::BITS as usize;

/// Guest memory as devices see it: the RAM regions and nothing else.
pub type Ram = GuestRegionCollection<RamRegion<DirtyPages>>;

/// Zeroed RAM that is nobody's yet, as (start, length) of each region, in order. Fails if the host has no memory for
/// it, or regions are none that can be.
pub fn zeroed_ram(regions: &[(u64, usize)]) -> io::Result<Ram> {
    let region = |&(start, len): &(u64, usize)| {
        let mapping = MmapRegion::new(len).map_err(io::Error::other)?;
        let region = RamRegion::new(mapping, GuestAddress(start), None);
        region.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    };
    let regions = regions.iter().map(region).collect::<io::Result<Vec<_>>>()?;
    Ram::from_regions(regions).map_err(io::Error::other)
}

/// The pages of one region. Nothing is noted before [`DirtyPages::begin`].
#[derive(Debug, Default)]
pub struct DirtyPages {
    /// Of the region, in bytes.
    len: usize,
    words: OnceLock<Words>,
    /// Of those given back to the host, from the first on.
    given_back: OnceLock<Words>,
}

/// A bit for each page, from the lowest on.
type Words = Box<[AtomicU64]>;

impl DirtyPages {
    /// From now on pages are noted, and none is yet. Does nothing if that is so already.
    pub fn begin(&self) {
        self.words.get_or_init(|| self.none());
    }

    fn none(&self) -> Words {
        let words = self.len.div_ceil(PAGE).div_ceil(BITS);
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    /// Whether pages are noted.
    pub fn is_on(&self) -> bool {
        self.words.get().is_some()
    }

    /// Takes what was noted, and forgets it: a bit for each page, from the lowest on; nothing if nothing is noted.
    /// What was given back to the host is among it in any case.
    ///
    /// A page that is written to meanwhile is among it, or among what is taken next. In the first case what was written
    /// can be read once each thread that writes has passed a barrier (membarrier(2)).
    pub fn take(&self) -> Vec<u64> {
        let mut taken = Vec::new();
        for words in [&self.words, &self.given_back].into_iter().filter_map(OnceLock::get) {
            taken.resize(words.len(), 0);
            let words = words.iter().map(|word| word.swap(0, Relaxed));
            taken.iter_mut().zip(words).for_each(|(to, word): (&mut u64, u64)| *to |= word);
        }
        taken
    }

    /// Notes the pages in which `len` bytes from `offset` on lie.
    #[inline]
    fn mark(&self, offset: usize, len: usize) {
        if let Some(words) = self.words.get() {
            mark(words, offset, len);
        }
    }
}

fn mark(words: &[AtomicU64], offset: usize, len: usize) {
    let Some(last) = len.checked_sub(1).map(|rest| offset.saturating_add(rest) / PAGE) else {
        return;
    };
    let mut page = offset / PAGE;
    while page <= last {
        let bit = page % BITS;
        let end = last.saturating_sub(page).saturating_add(bit).min(BITS - 1);
        let bits = (u64::MAX << bit) & (u64::MAX >> (BITS - 1).saturating_sub(end));
        // What was written is written before it is looked: who takes the bits has all CPUs pass a barrier then.
        compiler_fence(SeqCst);
        let Some(word) = words.get(page / BITS) else { return };
        // Most are noted already, and the line stays with all who look.
        if word.load(Relaxed) & bits != bits {
            word.fetch_or(bits, Relaxed);
        }
        page = page.saturating_sub(bit).saturating_add(BITS);
    }
}

impl<'a> WithBitmapSlice<'a> for DirtyPages {
    type S = DirtySlice<'a>;
}

impl Bitmap for DirtyPages {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.mark(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        let page = offset / PAGE;
        let word = self.words.get().and_then(|words| words.get(page / BITS));
        word.is_some_and(|word| word.load(Relaxed) >> (page % BITS) & 1 != 0)
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> DirtySlice<'_> {
        DirtySlice { pages: self, base: offset }
    }
}

impl NewBitmap for DirtyPages {
    fn with_len(len: usize) -> DirtyPages {
        DirtyPages { len, ..DirtyPages::default() }
    }
}

/// The pages of a part of a region.
#[derive(Clone, Copy, Debug)]
pub struct DirtySlice<'a> {
    pages: &'a DirtyPages,
    /// Where in the region it begins.
    base: usize,
}

impl DirtySlice<'_> {
    /// Notes that `len` bytes from `offset` on are given back to the host, and zero from now on. This is noted
    /// whether anything else is or not.
    pub fn give_back(&self, offset: usize, len: usize) {
        let words = self.pages.given_back.get_or_init(|| self.pages.none());
        mark(words, self.base.wrapping_add(offset), len);
    }
}

impl<'a> WithBitmapSlice<'_> for DirtySlice<'a> {
    type S = DirtySlice<'a>;
}

impl BitmapSlice for DirtySlice<'_> {}

impl Bitmap for DirtySlice<'_> {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.pages.mark(self.base.wrapping_add(offset), len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.pages.dirty_at(self.base.wrapping_add(offset))
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> Self {
        DirtySlice { base: self.base.wrapping_add(offset), ..*self }
    }
}

/// The pages of a region of memory.
pub fn of(region: &<Ram as GuestMemoryBackend>::R) -> &DirtyPages {
    MmapRegion::bitmap(region)
}

/// From now on pages of `ram` are noted that this process writes to.
pub fn begin(ram: &Ram) {
    ram.iter().for_each(|region| of(region).begin());
}

/// Notes `len` bytes from `at` on, where `ram` is in this process. What is not of `ram` counts for nothing.
pub(crate) fn note_at(ram: &Ram, at: usize, len: usize) {
    for region in ram.iter() {
        let offset = at.wrapping_sub(region.as_ptr().addr());
        if offset < region.size() {
            return of(region).mark(offset, len.min(region.size().saturating_sub(offset)));
        }
    }
}

/// Whether pages of `ram` are noted.
#[inline]
pub fn is_on(ram: &Ram) -> bool {
    ram.iter().next().is_some_and(|region| of(region).is_on())
}

#[cfg(test)]
#[path = "dirty_test.rs"]
mod tests;

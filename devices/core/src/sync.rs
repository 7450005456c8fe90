//! What lock-free parts share between threads; the models in `tests/loom.rs` put loom's in its place.

use std::cell::UnsafeCell;
pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Words that are written and read by more than one thread, each when it is its turn.
pub struct Cells(Box<[UnsafeCell<[u8; 8]>]>);

// SAFETY: who uses them promises to keep the turns.
unsafe impl Sync for Cells {}

impl Cells {
    /// So many, all zero.
    pub fn new(count: usize) -> Cells {
        Cells((0..count).map(|_| UnsafeCell::new([0; 8])).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn places(&self, at: usize, count: usize) -> &[UnsafeCell<[u8; 8]>] {
        self.0.get(at..).and_then(|places| places.get(..count)).unwrap_or_default()
    }

    /// Lends `count` words from `at` on for writing; none unless all of them are there.
    ///
    /// # Safety
    ///
    /// Nobody else may write or read them until it returns.
    #[inline]
    pub unsafe fn write<R>(
        &self,
        at: usize,
        count: usize,
        with: impl FnOnce(&mut [[u8; 8]]) -> R,
    ) -> R {
        let places = self.places(at, count);
        // SAFETY: cells in a row are words in a row, which may be changed through a shared
        // reference, and are nobody else's, as the caller promises.
        with(unsafe {
            std::slice::from_raw_parts_mut(UnsafeCell::raw_get(places.as_ptr()), places.len())
        })
    }

    /// Lends `count` words from `at` on for reading; none unless all of them are there.
    ///
    /// # Safety
    ///
    /// Nobody may write them until it returns.
    #[inline]
    pub unsafe fn read<R>(&self, at: usize, count: usize, with: impl FnOnce(&[[u8; 8]]) -> R) -> R {
        let places = self.places(at, count);
        // SAFETY: cells in a row are words in a row, which nobody writes, as the caller promises.
        with(unsafe { std::slice::from_raw_parts(places.as_ptr().cast(), places.len()) })
    }
}

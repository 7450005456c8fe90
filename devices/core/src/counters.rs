//! Counters with one writer and any number of readers: no locked instruction, no lost count.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter. Only one thread may add; anyone may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, wrapping; a plain load and store, since there is no second writer.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// The count so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter that several threads add to; for events off the data path.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Adds one; returns the count before.
    pub fn increment(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a block of [`Counter`]s on cache lines of its own, readable by name.
#[macro_export]
macro_rules! counters {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        $vis struct $name { $($(#[$field_doc])* pub $field: $crate::counters::Counter),* }

        impl $name {
            /// Every counter with its name, in order of declaration.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field.get())),*].into_iter()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    crate::counters! {
        /// A block.
        struct Block { frames, bytes }
    }

    #[test]
    fn a_block_reads_back_by_name() {
        let block = Block::default();
        block.frames.add(1);
        block.bytes.add(60);
        block.bytes.add(1);
        assert_eq!(block.values().collect::<Vec<_>>(), [("frames", 1), ("bytes", 61)]);
        assert!(align_of::<Block>() >= 64);
    }
}

//! How often each bucket of a table is hit: counted by one lane, read by anyone.

use device_core::counters::Counter;

use crate::frame::FlowHash;

/// One lane's counts since the table was set.
#[derive(Debug)]
pub struct Hits {
    buckets: Box<[Counter]>,
    unhashed: Counter,
}

impl Hits {
    /// For a table of `len` entries, a power of two.
    pub fn new(len: usize) -> Hits {
        Hits {
            buckets: (0..len).map(|_| Counter::default()).collect(),
            unhashed: Counter::default(),
        }
    }

    /// Counts a frame that goes on to the guest; on the lane's thread only.
    #[inline]
    pub fn count(&self, hash: Option<FlowHash>) {
        let mask = self.buckets.len().wrapping_sub(1);
        let bucket = hash.and_then(|hash| self.buckets.get(hash.value as usize & mask));
        bucket.unwrap_or(&self.unhashed).add(1);
    }

    /// Frames that entry `at` of the table was for.
    pub fn of_bucket(&self, at: usize) -> u64 {
        self.buckets.get(at).map_or(0, Counter::get)
    }

    /// Frames without a hash.
    pub fn unhashed(&self) -> u64 {
        self.unhashed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rss::{Protocol, Table};

    #[test]
    fn a_hash_counts_for_the_bucket_that_the_table_has_for_it() {
        let (hits, table) = (Hits::new(128), Table::spread(128, 4).unwrap());
        for value in [0, 1, 127, 128, 0xffff_ff80, u32::MAX] {
            let before = hits.of_bucket(table.bucket(value));
            hits.count(Some(FlowHash { value, protocol: Protocol::Tcp4 }));
            assert_eq!(hits.of_bucket(table.bucket(value)), before + 1, "{value:#x}");
        }
        hits.count(None);
        let all: u64 = (0..128).map(|at| hits.of_bucket(at)).sum();
        assert_eq!((all, hits.unhashed(), hits.of_bucket(128)), (6, 1, 0));
    }
}

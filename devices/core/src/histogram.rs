//! Distributions of durations: fixed buckets, eight to each doubling, with one writer and any number
//! of readers.

use crate::counters::Counter;

/// Buckets to a doubling, as a power of two.
const FINE_BITS: u32 = 3;
const FINE: u64 = 1 << FINE_BITS;
/// Doublings told apart: up to 68 seconds in nanoseconds; what is longer counts as that.
const DOUBLINGS: u32 = 36;
const BUCKETS: usize = ((DOUBLINGS - FINE_BITS + 1) * FINE as u32) as usize;

/// Counts by duration; only one thread may record.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

/// The bucket of `value`: exact below [`FINE`], then by the highest bits.
fn bucket(value: u64) -> usize {
    let value = value.min((1 << DOUBLINGS) - 1);
    let Some(shift) = value.checked_ilog2().and_then(|log| log.checked_sub(FINE_BITS)) else {
        return value as usize;
    };
    let fine = value >> shift & (FINE - 1);
    (u64::from(shift).wrapping_add(1).wrapping_mul(FINE).wrapping_add(fine)) as usize
}

/// The largest value of a bucket.
fn edge(bucket: usize) -> u64 {
    let (row, fine) = (bucket as u64 / FINE, bucket as u64 % FINE);
    match row.checked_sub(1) {
        None => fine,
        Some(shift) => ((FINE + fine + 1) << shift) - 1,
    }
}

impl Histogram {
    /// Counts `count` events that took `value` nanoseconds each; 68 seconds at most are told apart.
    #[inline]
    pub fn record(&self, value: u64, count: u64) {
        if let Some(bucket) = self.buckets.get(bucket(value)) {
            bucket.add(count);
        }
    }

    /// How many events were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.wrapping_add(bucket.get()))
    }

    /// The least upper edges of buckets, in nanoseconds, that so many thousandths of the events are not
    /// beyond, for each of `thousandths` in rising order; zeros while there are no events.
    pub fn at<const N: usize>(&self, thousandths: [u64; N]) -> [u64; N] {
        let counts: Vec<u64> = self.buckets.iter().map(Counter::get).collect();
        let total = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        thousandths.map(|share| {
            let wanted = u128::from(total).saturating_mul(share.into()).div_ceil(1000);
            let mut sum = 0u128;
            let reached = counts.iter().position(|count| {
                sum = sum.saturating_add(u128::from(*count));
                total > 0 && sum >= wanted.max(1)
            });
            reached.map_or(0, edge)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_lies_at_most_an_eighth_below_the_edge_of_its_bucket(value in any::<u64>()) {
            for value in [value, value >> 30, value >> 50] {
                let value = value.min((1 << DOUBLINGS) - 1);
                let edge = edge(bucket(value));
                prop_assert!(value <= edge && edge - value <= value / FINE, "{value} {edge}");
            }
        }
    }

    #[test]
    fn shares_are_told_by_the_edges_of_buckets() {
        let histogram = Histogram::default();
        assert_eq!(histogram.at([500, 1000]), [0, 0]);
        histogram.record(5, 900);
        histogram.record(1000, 99);
        histogram.record(u64::MAX, 1);
        assert_eq!(histogram.count(), 1000);
        let longest = (1 << DOUBLINGS) - 1;
        assert_eq!(histogram.at([0, 500, 900, 901, 999, 1000]), [5, 5, 5, 1023, 1023, longest]);
    }
}

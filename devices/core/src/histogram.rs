//! Distributions of durations: fixed buckets, eight to each doubling, with one writer and any number
//! of readers.

use crate::counters::Counter;

/// Buckets to a doubling, as a power of two.
const FINE_BITS: u32 = 3;
const FINE: u64 = 1 << FINE_BITS;
/// Doublings told apart: up to 68 seconds in nanoseconds; what is longer counts as that.
const DOUBLINGS: u32 = 36;
const BUCKETS: usize = ((DOUBLINGS - FINE_BITS + 1) * FINE as u32) as usize;
/// The doublings of a [`Summary`]: all below 2^10 nanoseconds, then each up to 2^33, then all beyond.
const FIRST: u32 = 10;
const LAST: u32 = 33;
const STEPS: usize = (LAST - FIRST + 2) as usize;

/// Counts by duration; only one thread may record.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
    /// All values together.
    total: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let buckets = (0..BUCKETS).map(|_| Counter::default()).collect();
        Histogram { buckets, total: Counter::default() }
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
            self.total.add(value.saturating_mul(count));
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

/// Distributions by doublings, to be added up by who collects them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    counts: [u64; STEPS],
    total_ns: u64,
}

impl Summary {
    /// Adds what a histogram has recorded.
    pub fn add(&mut self, histogram: &Histogram) {
        self.total_ns = self.total_ns.wrapping_add(histogram.total.get());
        for (bucket, count) in histogram.buckets.iter().enumerate() {
            let doubling = edge(bucket).checked_ilog2().map_or(0, |log| log.saturating_add(1));
            let step = doubling.clamp(FIRST, LAST.saturating_add(1)).saturating_sub(FIRST);
            if let Some(sum) = self.counts.get_mut(step as usize) {
                *sum = sum.wrapping_add(count.get());
            }
        }
    }

    /// All values together, in nanoseconds.
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// How many events took less than so many nanoseconds but no less than the step before says; the last step
    /// has no end.
    pub fn steps(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let ends = (FIRST..=LAST).map(|log| Some(1u64 << log)).chain([None]);
        ends.zip(self.counts)
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
    fn a_summary_counts_by_doublings_and_adds_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for value in [0, 1023, 1024, 2047, 1 << 33] {
            one.record(value, 1);
        }
        other.record((1 << 33) - 1, 2);
        let mut summary = Summary::default();
        summary.add(&one);
        summary.add(&other);
        let counted: Vec<_> = summary.steps().filter(|(_, count)| *count > 0).collect();
        let wanted = [(Some(1 << 10), 2), (Some(1 << 11), 2), (Some(1 << 33), 2), (None, 1)];
        assert_eq!(counted, wanted);
        assert_eq!(summary.total_ns(), 1023 + 1024 + 2047 + 3 * (1 << 33) - 2);
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

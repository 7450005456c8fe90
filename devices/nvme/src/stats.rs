//! What a lane counts of its queues' commands, and how long they take; since the controller was built.

use std::time::Duration;

use block::request::Outcome;
use device_core::counters::Counter;

use crate::abi::io;

/// Bins of a [`Latencies`]: below a microsecond, then one for each doubling, the last for all beyond.
pub const BINS: usize = 28;

/// How long commands took, counted by doublings of microseconds. Only one thread may record.
#[derive(Debug)]
pub struct Latencies([Counter; BINS]);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(std::array::from_fn(|_| Counter::default()))
    }
}

impl Latencies {
    fn record(&self, us: u64) {
        let bin = us.checked_ilog2().map_or(0, |log| (log as usize).saturating_add(1));
        if let Some(bin) = self.0.get(bin.min(BINS.saturating_sub(1))) {
            bin.add(1);
        }
    }

    /// Adds what was counted elsewhere; no thread records.
    pub fn add(&self, counts: &[u64; BINS]) {
        self.0.iter().zip(counts).for_each(|(bin, count)| bin.add(*count));
    }

    /// The count of each bin.
    pub fn counts(&self) -> [u64; BINS] {
        self.0.each_ref().map(Counter::get)
    }
}

/// From and below which microseconds bin `bin` counts.
pub fn edges(bin: usize) -> (u64, u64) {
    let edge = |log: usize| 1u64.checked_shl(log as u32).unwrap_or(u64::MAX);
    let upper = if bin >= BINS.saturating_sub(1) { u64::MAX } else { edge(bin) };
    (bin.checked_sub(1).map_or(0, edge), upper)
}

device_core::counters! {
    /// Commands of one lane's queues.
    pub struct LaneCounters {
        /// Commands given to the disk.
        taken,
        /// Of these, those that have ended or were given back.
        ended,
        /// Reads that went well.
        reads,
        /// Bytes of them.
        read_bytes,
        /// Microseconds that they took.
        read_us,
        /// Writes that went well.
        writes,
        /// Bytes of them.
        write_bytes,
        /// Microseconds that they took.
        write_us,
        /// Flushes that went well.
        flushes,
        /// Other commands that went well.
        others,
        /// Commands that the disk did not do.
        errors,
        /// Of these, those that the medium could not do.
        media_errors,
        /// Commands that were malformed.
        malformed,
        /// Interrupts.
        interrupts,
    }
}

/// All that one lane measures.
#[derive(Debug, Default)]
pub struct LaneStats {
    /// What happened how often.
    pub counters: LaneCounters,
    /// How long reads took.
    pub reads: Latencies,
    /// How long writes took.
    pub writes: Latencies,
}

impl LaneStats {
    /// A command of `bytes` has ended.
    pub fn ended(&self, opcode: u8, bytes: u64, took: Duration, outcome: Outcome) {
        let counters = &self.counters;
        counters.ended.add(1);
        if outcome != Outcome::Done {
            counters.errors.add(1);
            if matches!(outcome, Outcome::Medium | Outcome::NoSpace) {
                counters.media_errors.add(1);
            }
            return;
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match opcode {
            io::READ => {
                counters.reads.add(1);
                counters.read_bytes.add(bytes);
                counters.read_us.add(us);
                self.reads.record(us);
            }
            io::WRITE => {
                counters.writes.add(1);
                counters.write_bytes.add(bytes);
                counters.write_us.add(us);
                self.writes.record(us);
            }
            io::FLUSH => counters.flushes.add(1),
            _ => counters.others.add(1),
        }
    }

    /// Commands that the disk has and that have not ended.
    pub fn in_flight(&self) -> u64 {
        // Read in this order it is never more than there were.
        let ended = self.counters.ended.get();
        self.counters.taken.get().saturating_sub(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_counted_between_the_edges_of_one_bin() {
        for us in [0, 1, 2, 3, 4, 1023, 1024, 1 << 26, 1 << 40, u64::MAX] {
            let latencies = Latencies::default();
            latencies.record(us);
            let counts = latencies.counts();
            let bin = counts.iter().position(|count| *count == 1).unwrap();
            let (lower, upper) = edges(bin);
            assert!(lower <= us && (us < upper || upper == u64::MAX), "{us} {lower} {upper}");
            assert_eq!(counts.iter().sum::<u64>(), 1);
        }
    }

    #[test]
    fn bins_follow_each_other_without_a_gap() {
        for bin in 1..BINS {
            assert_eq!(edges(bin - 1).1, edges(bin).0);
        }
        assert_eq!((edges(0).0, edges(BINS - 1).1), (0, u64::MAX));
    }

    #[test]
    fn only_what_went_well_counts_as_done() {
        let stats = LaneStats::default();
        stats.counters.taken.add(3);
        stats.ended(io::READ, 512, Duration::from_micros(5), Outcome::Done);
        stats.ended(io::WRITE, 512, Duration::ZERO, Outcome::Medium);
        assert_eq!(stats.in_flight(), 1);
        let named: Vec<_> = stats.counters.values().filter(|(_, count)| *count > 0).collect();
        let expected = [
            ("taken", 3),
            ("ended", 2),
            ("reads", 1),
            ("read_bytes", 512),
            ("read_us", 5),
            ("errors", 1),
            ("media_errors", 1),
        ];
        assert_eq!(named, expected);
    }
}

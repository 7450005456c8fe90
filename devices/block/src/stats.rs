//! What lanes count.

use std::sync::atomic::{AtomicU64, Ordering};

use device_core::counters;
use device_core::histogram::Histogram;

use crate::request::{Operation, Outcome, Request};

counters! {
    /// What one lane has done since its machine was built.
    pub struct LaneCounters {
        /// Reads that were done whole.
        reads,
        /// Their bytes.
        read_bytes,
        /// Writes that were done whole.
        writes,
        /// Their bytes.
        write_bytes,
        /// Flushes that succeeded.
        flushes,
        /// Discards that succeeded.
        discards,
        /// Ranges of zeroes that were written.
        zeroes,
        /// Comparisons, whatever came out.
        compares,
        /// Requests that the ring answered itself.
        answered,
        /// Writes of a disk that is never written.
        read_only,
        /// Requests beyond the end of the disk.
        out_of_range,
        /// Requests for what the disk cannot do.
        unsupported,
        /// Writes that the host had no room for.
        no_space,
        /// Requests that the host failed, and flushes after one that it failed.
        medium_errors,
        /// Requests with buffers that are not in guest memory.
        bad_memory,
        /// Requests that were taken back.
        aborted,
        /// Requests that went through private memory.
        bounced,
        /// Calls of the host that came back short or for another try.
        retries,
        /// Requests that had to wait for a limit.
        throttled,
        /// Times that the host was called with new work.
        submits,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// All that one lane tells of itself.
#[derive(Debug, Default)]
pub struct LaneStats {
    /// What it has done.
    pub counters: LaneCounters,
    /// Requests that it has and that have not ended.
    in_flight: AtomicU64,
    /// Nanoseconds from when a request was taken to when it ended.
    pub service: Histogram,
}

impl LaneStats {
    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn set_in_flight(&self, count: usize) {
        self.in_flight.store(count as u64, Ordering::Relaxed);
    }

    /// Counts a request that has ended.
    pub(crate) fn count(&self, request: &Request, outcome: Outcome) {
        let counters = &self.counters;
        let bytes = request.buffers.len() as u64;
        match outcome {
            Outcome::Done => match request.operation {
                Operation::Read => {
                    counters.reads.add(1);
                    counters.read_bytes.add(bytes);
                }
                Operation::Write => {
                    counters.writes.add(1);
                    counters.write_bytes.add(bytes);
                }
                Operation::Flush => counters.flushes.add(1),
                Operation::Discard => counters.discards.add(1),
                Operation::WriteZeroes { .. } => counters.zeroes.add(1),
                Operation::Compare => counters.compares.add(1),
            },
            Outcome::Differs => counters.compares.add(1),
            Outcome::ReadOnly => counters.read_only.add(1),
            Outcome::OutOfRange => counters.out_of_range.add(1),
            Outcome::Unsupported => counters.unsupported.add(1),
            Outcome::NoSpace => counters.no_space.add(1),
            Outcome::Medium => counters.medium_errors.add(1),
            Outcome::BadMemory => counters.bad_memory.add(1),
            Outcome::Aborted => counters.aborted.add(1),
        }
    }
}

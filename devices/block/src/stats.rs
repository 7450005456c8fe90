//! What lanes count, and how long requests take on each stretch of their way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use device_core::counters;
use device_core::histogram::Histogram;
use serde::Serialize;

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
        /// Microseconds in which the next request waited for the limit of bytes.
        throttled_bw_us,
        /// The same for the limit of requests.
        throttled_iops_us,
        /// Times that the host was called with new work.
        submits,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// The stretches of a request's way: what there is of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stretches<T> {
    /// From when it was taken to when it was first handed to the host.
    pub queue_to_submit: T,
    /// From then to when it ended.
    pub submit_to_completion: T,
    /// From then to when the guest could see it, and was interrupted if it wanted to be; by batches.
    pub completion_to_interrupt: T,
}

impl<T> Stretches<T> {
    /// Each with its name.
    pub fn named(self) -> [(&'static str, T); 3] {
        [
            ("queue_to_submit", self.queue_to_submit),
            ("submit_to_completion", self.submit_to_completion),
            ("completion_to_interrupt", self.completion_to_interrupt),
        ]
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
    /// Nanoseconds of each stretch of that way.
    pub stretches: Stretches<Histogram>,
}

impl LaneStats {
    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn set_in_flight(&self, count: usize) {
        self.in_flight.store(count as u64, Ordering::Relaxed);
    }

    /// Counts a request that was handed to the host and has ended since.
    pub(crate) fn time(&self, taken: Instant, handed: Instant, ended: Instant) {
        let stretches = &self.stretches;
        stretches.queue_to_submit.record(nanos(taken, handed), 1);
        stretches.submit_to_completion.record(nanos(handed, ended), 1);
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

/// Nanoseconds between two moments.
pub(crate) fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

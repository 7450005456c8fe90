//! What is told of the time that frames spend in a card.

use serde::Serialize;

/// Latencies of each queue pair.
///
/// Time stamps are taken per burst of at most 32 frames, before and after it is published, and hold
/// for each frame of the burst as if it had waited for the whole of it: an upper bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Still measured.
    pub on: bool,
    /// One for each queue pair, in order.
    pub pairs: Vec<PairLatency>,
}

/// Latencies of one queue pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairLatency {
    /// Number of the pair, from 0.
    pub index: u16,
    /// From the guest's doorbell until the backend has the frame. Where doorbells do not pass through
    /// the card's hands, as with virtio, from the begin of the lane's turn.
    pub doorbell_to_tap: Percentiles,
    /// From the backend's having the frame until the guest can see it completed.
    pub tap_to_completion: Percentiles,
    /// From the begin of reading a burst until the guest can see its frames.
    pub tap_to_guest: Percentiles,
    /// From when completions could be seen until the interrupt for them has been sent, moderation
    /// included. Only of interrupts that lanes send: drivers that poll, or unmask later, wait for
    /// none.
    pub completion_to_interrupt: Percentiles,
}

/// One distribution, in nanoseconds. Each number is the upper edge of a bucket, at most an eighth
/// above what was measured; 0 if nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many times were measured.
    pub count: u64,
    /// Half of them are at most so long.
    pub p50: u64,
    /// Nine in ten are.
    pub p90: u64,
    /// 99 of a hundred are.
    pub p99: u64,
    /// 999 of a thousand are.
    pub p999: u64,
    /// All are.
    pub max: u64,
}

//! What a disk is asked to do, and what became of it.

use device_core::GuestRam;
use device_core::scatter::Scatter;

/// Bytes of a sector: what offsets of any disk are multiples of.
pub const SECTOR: u64 = 512;

/// What a disk can be asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// From the disk at `offset` to the buffers.
    #[default]
    Read,
    /// From the buffers to the disk at `offset`.
    Write,
    /// All writes that completed before are to survive a power cut, as far as the cache mode promises it.
    Flush,
    /// What is in the ranges is no longer needed.
    Discard,
    /// The ranges are to read as zeroes.
    WriteZeroes {
        /// Their space may be given back.
        unmap: bool,
    },
    /// Whether the disk at `offset` has what is in the buffers.
    Compare,
}

/// A part of a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// One wish, as a ring fills it in. Nothing of it has been checked against the disk: the lane does that, once.
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Where on the disk reads, writes and comparisons begin, in bytes; as many as there are in `buffers`.
    pub offset: u64,
    /// Guest memory of reads, writes and comparisons.
    pub buffers: Scatter,
    /// What is discarded or zeroed.
    pub ranges: Vec<Range>,
    /// It completes when it would survive a power cut (NVMe's FUA).
    pub durable: bool,
}

impl Request {
    /// An empty one, to be filled in again and again.
    pub fn new(memory: GuestRam) -> Request {
        Request {
            operation: Operation::Read,
            offset: 0,
            buffers: Scatter::growing(memory),
            ranges: Vec::new(),
            durable: false,
        }
    }

    /// Forgets what was asked.
    pub fn clear(&mut self) {
        self.operation = Operation::Read;
        self.offset = 0;
        self.buffers.clear();
        self.ranges.clear();
        self.durable = false;
    }
}

/// What became of a request. Each front has a status of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done, whole.
    Done,
    /// The disk is not to be written.
    ReadOnly,
    /// A part of it is not on the disk. Nothing was done.
    OutOfRange,
    /// The disk cannot do that.
    Unsupported,
    /// The host has no room left for it.
    NoSpace,
    /// The host could not read or write, or a flush failed before and what was written may be lost.
    Medium,
    /// Some of its buffers are not in guest memory.
    BadMemory,
    /// A comparison found other bytes.
    Differs,
    /// It was taken back before it was done.
    Aborted,
}

//! What can be said of a capture, before and after.

use std::io;

use serde::{Deserialize, Serialize};

use crate::frame::HEAD;
use crate::stage::limiter::Way;

/// Least and most bytes of a capture.
pub const BYTES_RANGE: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;
/// Most bytes of a capture that keeps the newest frames: they are in memory until it ends.
pub const MAX_RING_BYTES: u64 = 256 << 20;
/// Least and most bytes that are kept of each frame.
pub const SNAP_RANGE: std::ops::RangeInclusive<u32> = 14..=262_144;
/// Longest capture: a week.
pub const MAX_SECONDS: u32 = 7 * 24 * 3600;

/// What is captured, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureSpec {
    /// Frames of this queue pair only.
    #[serde(default)]
    pub queue: Option<u16>,
    /// Frames of this direction only, as the guest sees it.
    #[serde(default)]
    pub direction: Option<Way>,
    /// Bytes kept of each frame, within [`SNAP_RANGE`]; the headers if not given.
    #[serde(default = "headers")]
    pub snap_len: u32,
    /// Bytes of the file, within [`BYTES_RANGE`]; 64 MiB if not given.
    #[serde(default = "bytes")]
    pub max_bytes: u64,
    /// Seconds after which the capture ends, 1 to [`MAX_SECONDS`]; 300 if not given.
    #[serde(default = "seconds")]
    pub max_seconds: u32,
    /// At most `max_bytes` of the newest frames are kept, in memory, and written when the capture
    /// ends; else the capture ends when the file is full.
    #[serde(default)]
    pub ring: bool,
}

fn headers() -> u32 {
    HEAD as u32
}

fn bytes() -> u64 {
    64 << 20
}

fn seconds() -> u32 {
    300
}

impl Default for CaptureSpec {
    fn default() -> CaptureSpec {
        CaptureSpec {
            queue: None,
            direction: None,
            snap_len: headers(),
            max_bytes: bytes(),
            max_seconds: seconds(),
            ring: false,
        }
    }
}

/// Why a capture cannot begin. Nothing changed, but that with [`CaptureError::Write`] one that was
/// running has ended.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The card has no such queue pair.
    #[error("queue {queue} cannot be captured: the card has {pairs} queue pairs, from 0 on")]
    NoSuchQueue {
        /// Queue pair asked for.
        queue: u16,
        /// Queue pairs of the card.
        pairs: u16,
    },
    /// [`CaptureSpec::snap_len`] is out of [`SNAP_RANGE`].
    #[error("snap_len {given} is not from {} to {}", SNAP_RANGE.start(), SNAP_RANGE.end())]
    SnapLen {
        /// Bytes asked for.
        given: u32,
    },
    /// [`CaptureSpec::max_bytes`] is out of [`BYTES_RANGE`].
    #[error("max_bytes {given} is not from {} to {}", BYTES_RANGE.start(), BYTES_RANGE.end())]
    Bytes {
        /// Bytes asked for.
        given: u64,
    },
    /// [`CaptureSpec::max_bytes`] is above [`MAX_RING_BYTES`].
    #[error(
        "max_bytes {given} is too much for a capture in ring mode, which is kept in memory; \
         at most {MAX_RING_BYTES}"
    )]
    RingBytes {
        /// Bytes asked for.
        given: u64,
    },
    /// [`CaptureSpec::max_seconds`] is 0 or above [`MAX_SECONDS`].
    #[error("max_seconds {given} is not from 1 to {MAX_SECONDS}")]
    Seconds {
        /// Seconds asked for.
        given: u32,
    },
    /// The host does not take the file's first bytes, or has no eventfd left.
    #[error("the capture file cannot be written")]
    Write(#[source] io::Error),
}

impl CaptureSpec {
    /// Checks all that can be checked without the file, for a card of `pairs` queue pairs. Fails at the
    /// first field that cannot be.
    pub fn validate(&self, pairs: u16) -> Result<(), CaptureError> {
        if let Some(queue) = self.queue.filter(|queue| *queue >= pairs) {
            return Err(CaptureError::NoSuchQueue { queue, pairs });
        }
        if !SNAP_RANGE.contains(&self.snap_len) {
            return Err(CaptureError::SnapLen { given: self.snap_len });
        }
        if !BYTES_RANGE.contains(&self.max_bytes) {
            return Err(CaptureError::Bytes { given: self.max_bytes });
        }
        if self.ring && self.max_bytes > MAX_RING_BYTES {
            return Err(CaptureError::RingBytes { given: self.max_bytes });
        }
        if !(1..=MAX_SECONDS).contains(&self.max_seconds) {
            return Err(CaptureError::Seconds { given: self.max_seconds });
        }
        Ok(())
    }
}

/// How a capture goes, or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaptureState {
    /// What was asked for.
    pub spec: CaptureSpec,
    /// `None` while it runs.
    pub ended: Option<CaptureEnd>,
    /// Frames written, or kept to be written.
    pub frames: u64,
    /// Bytes of the file, or those kept to be written.
    pub bytes: u64,
    /// Frames that the writer was too slow for; the guest got them all the same.
    pub dropped: u64,
    /// Frames that newer ones took the place of.
    pub overwritten: u64,
}

/// Why a capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureEnd {
    /// It was told to end, or another took its place.
    Stopped,
    /// `max_bytes` was reached.
    Full,
    /// `max_seconds` have passed.
    TimeUp,
    /// The file could not be written; the reason for people.
    Failed(String),
}

#[cfg(test)]
#[path = "capture_test.rs"]
mod tests;

//! What the guest reports when it has done what it was asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::frames::Link;
use crate::native::peer::MAC;

/// EtherType of a report (IEEE 802, local experiments), and what it begins with.
const TYPE: [u8; 2] = [0x88, 0xb6];
const MARK: &[u8] = b"nativeG1";

/// Most pairs of queues that it tells of.
const MOST_PAIRS: u64 = 16;

/// Numbers of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Frames that the guest gave to its card.
    pub sent: u64,
    /// Frames that it received, and their bytes.
    pub received: u64,
    pub bytes: u64,
    /// Ticks of the CPU's clock that it took.
    pub ticks: u64,
    /// Of each pair of queues, frames sent and received by it.
    pub pairs: Vec<[u64; 2]>,
}

impl Report {
    /// Waits for one.
    pub fn hear(link: &Link, limit: Duration) -> Result<Self> {
        let begun = Instant::now();
        let left = || limit.saturating_sub(begun.elapsed());
        while let Some(frame) = link.hear_first(&MAC, left())? {
            if let Some(report) = Self::of(&frame) {
                return Ok(report);
            }
        }
        None.with_context(|| format!("no report within {} s", limit.as_secs()))
    }

    fn of(frame: &[u8]) -> Option<Self> {
        let numbers = frame.get(12..)?.strip_prefix(&TYPE)?.strip_prefix(MARK)?;
        let number = |n: usize| {
            let bytes = numbers.get(n * 8..n * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let count = number(4).filter(|count| *count <= MOST_PAIRS)? as usize;
        let pair = |n: usize| Some([number(5 + 2 * n)?, number(6 + 2 * n)?]);
        Some(Self {
            sent: number(0)?,
            received: number(1)?,
            bytes: number(2)?,
            ticks: number(3)?,
            pairs: (0..count).map(pair).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_known_by_its_type_and_mark() {
        let mut frame = [&[0xff; 6], MAC.as_slice(), &TYPE, MARK].concat();
        for number in [9u64, 6, 3, 4, 2, 1, 2, 8, 4] {
            frame.extend(number.to_le_bytes());
        }
        let pairs = vec![[1, 2], [8, 4]];
        let report = Report { sent: 9, received: 6, bytes: 3, ticks: 4, pairs };
        assert_eq!(Report::of(&frame), Some(report));
        assert_eq!(Report::of(&frame[..93]), None);
        frame[13] = 0xb5;
        assert_eq!(Report::of(&frame), None);
    }
}

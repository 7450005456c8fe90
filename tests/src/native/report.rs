//! What the guest reports when it has done what it was asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::frames::Link;
use crate::native::peer::MAC;

/// EtherType of a report (IEEE 802, local experiments), and what it begins with.
const TYPE: [u8; 2] = [0x88, 0xb6];
const MARK: &[u8] = b"nativeG1";

/// Numbers of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Frames that the guest gave to its card.
    pub sent: u64,
    /// Frames that it received, and their bytes.
    pub received: u64,
    pub bytes: u64,
    /// Ticks of the CPU's clock that it took.
    pub ticks: u64,
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
        Some(Self { sent: number(0)?, received: number(1)?, bytes: number(2)?, ticks: number(3)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_known_by_its_type_and_mark() {
        let mut frame = [&[0xff; 6], MAC.as_slice(), &TYPE, MARK].concat();
        for number in [1u64, 2, 3, 4] {
            frame.extend(number.to_le_bytes());
        }
        let report = Report { sent: 1, received: 2, bytes: 3, ticks: 4 };
        assert_eq!(Report::of(&frame), Some(report));
        assert_eq!(Report::of(&frame[..53]), None);
        frame[13] = 0xb5;
        assert_eq!(Report::of(&frame), None);
    }
}

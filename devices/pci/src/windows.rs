//! The address ranges that BARs may lie in, and their first assignment.

use std::ops::Range;

use crate::device::{BarKind, BarSpec};

/// BARs smaller than a page get one to themselves.
const PAGE: u64 = 0x1000;

/// Where BARs may be: guest-physical ranges that hold nothing else.
///
/// The same ranges as the host bridge's resources in ACPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Below 4 GiB.
    pub low: Range<u64>,
    /// Anywhere, for 64-bit BARs; may be empty.
    pub high: Range<u64>,
}

impl Windows {
    /// Whether all of `size` bytes at `address` lie in one window.
    pub fn hold(&self, address: u64, size: u64) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        [&self.low, &self.high].iter().any(|window| window.start <= address && end <= window.end)
    }
}

/// What is left of the windows while cards are attached.
pub struct Unassigned(Windows);

impl Unassigned {
    /// All of `windows`.
    pub fn new(windows: Windows) -> Unassigned {
        Unassigned(windows)
    }

    /// Takes an address for `bar`: the first that is left in the high window for a 64-bit BAR, and
    /// in the low one for a 32-bit BAR or if the high one is full. `None` if there is no room.
    pub fn take(&mut self, bar: &BarSpec) -> Option<u64> {
        let Unassigned(Windows { low, high }) = self;
        match bar.kind {
            BarKind::Memory64 { .. } => cut(high, bar.size).or_else(|| cut(low, bar.size)),
            BarKind::Memory32 => cut(low, bar.size),
        }
    }
}

/// Cuts `size` bytes, aligned to their size, off the start of `range`.
fn cut(range: &mut Range<u64>, size: u64) -> Option<u64> {
    let address = range.start.checked_next_multiple_of(size.max(PAGE))?;
    let end = address.checked_add(size.max(PAGE))?;
    if end > range.end {
        return None;
    }
    range.start = end;
    Some(address)
}

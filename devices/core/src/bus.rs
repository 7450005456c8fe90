//! Address ranges of one bus (ports or MMIO), looked up without a lock on each vCPU.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Width of one access in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// A byte.
    B1 = 1,
    /// Two bytes.
    B2 = 2,
    /// Four bytes.
    B4 = 4,
    /// Eight bytes; not on the port bus.
    B8 = 8,
}

impl Width {
    /// The width of `bytes` bytes, if one access can be so wide.
    pub const fn of(bytes: usize) -> Option<Width> {
        match bytes {
            1 => Some(Width::B1),
            2 => Some(Width::B2),
            4 => Some(Width::B4),
            8 => Some(Width::B8),
            _ => None,
        }
    }

    /// The width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// All bits that a value of this width can hold; also what a read of nothing returns.
    pub const fn mask(self) -> u64 {
        match self {
            Width::B1 => 0xff,
            Width::B2 => 0xffff,
            Width::B4 => 0xffff_ffff,
            Width::B8 => u64::MAX,
        }
    }

    /// The little-endian value of this width from `offset` on in `bytes`; behind their end there are zeroes.
    pub fn load(self, bytes: &[u8], offset: u64) -> u64 {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = bytes.iter().skip(from).take(self.bytes() as usize);
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

/// Registers at a range of addresses.
///
/// Several vCPUs call at once, hence `&self`. `offset` counts from the start of the range, and the
/// whole access lies within it. A value has no bits outside the width's mask; a returned value is cut
/// to it by the bus.
pub trait BusDevice: Send + Sync {
    /// Reads `width` bytes from `offset` on, little-endian; may have side effects, as registers do.
    fn read(&self, offset: u64, width: Width) -> u64;
    /// Writes the low `width` bytes of `value` from `offset` on, little-endian.
    fn write(&self, offset: u64, width: Width, value: u64);
}

/// Why a range could not be put on a bus.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// Such a range cannot be.
    #[error("range {start:#x} of {len:#x} bytes is empty or wraps around the address space")]
    BadRange {
        /// First address.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// Another device has a part of it.
    #[error("range {start:#x} of {len:#x} bytes overlaps one that starts at {other:#x}")]
    Overlap {
        /// First address.
        start: u64,
        /// Bytes.
        len: u64,
        /// First address of the other device's range.
        other: u64,
    },
}

#[derive(Clone)]
struct Range {
    start: u64,
    last: u64,
    device: Arc<dyn BusDevice>,
}

#[derive(Default)]
struct Map {
    ranges: Vec<Range>,
}

/// All address ranges of one bus.
///
/// A change is rare and takes a lock; every vCPU looks up in its own [`BusView`].
#[derive(Default)]
pub struct Bus {
    map: Mutex<Arc<Map>>,
    generation: AtomicU64,
}

impl Bus {
    /// A bus without devices.
    pub fn new() -> Arc<Bus> {
        Arc::default()
    }

    /// Puts `device` at `start..start + len`. Fails if the range is empty, wraps around, or overlaps
    /// another.
    pub fn insert(&self, start: u64, len: u64, device: Arc<dyn BusDevice>) -> Result<(), BusError> {
        let last = len
            .checked_sub(1)
            .and_then(|rest| start.checked_add(rest))
            .ok_or(BusError::BadRange { start, len })?;
        self.change(|ranges| {
            let at = ranges.partition_point(|range| range.last < start);
            match ranges.get(at) {
                Some(next) if next.start <= last => {
                    return Err(BusError::Overlap { start, len, other: next.start });
                }
                _ => ranges.insert(at, Range { start, last, device }),
            }
            Ok(())
        })
    }

    /// Takes the range that starts at `start` off the bus; says whether there was one.
    pub fn remove(&self, start: u64) -> bool {
        self.change(|ranges| {
            let before = ranges.len();
            ranges.retain(|range| range.start != start);
            if ranges.len() == before { Err(()) } else { Ok(()) }
        })
        .is_ok()
    }

    /// Takes everything off it.
    pub fn clear(&self) {
        let cleared: Result<(), std::convert::Infallible> = self.change(|ranges| {
            ranges.clear();
            Ok(())
        });
        let Ok(()) = cleared;
    }

    /// A look-up of one thread's own.
    pub fn view(self: &Arc<Bus>) -> BusView {
        let generation = self.generation.load(Ordering::Acquire);
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner).clone();
        BusView { bus: self.clone(), map, generation, last_hit: 0 }
    }

    fn change<E>(&self, edit: impl FnOnce(&mut Vec<Range>) -> Result<(), E>) -> Result<(), E> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ranges = map.ranges.clone();
        edit(&mut ranges)?;
        *map = Arc::new(Map { ranges });
        // Pairs with the load in `BusView::refresh`.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// One thread's look-up in a [`Bus`]: its own copy of the map, reloaded only when the bus changed.
pub struct BusView {
    bus: Arc<Bus>,
    map: Arc<Map>,
    generation: u64,
    last_hit: usize,
}

impl BusView {
    /// Reads; `None` if no device covers the whole access.
    pub fn read(&mut self, addr: u64, width: Width) -> Option<u64> {
        let range = self.find(addr, width)?;
        Some(range.device.read(addr.wrapping_sub(range.start), width) & width.mask())
    }

    /// Writes; false if no device covers the whole access.
    pub fn write(&mut self, addr: u64, width: Width, value: u64) -> bool {
        match self.find(addr, width) {
            Some(range) => {
                range.device.write(addr.wrapping_sub(range.start), width, value & width.mask());
                true
            }
            None => false,
        }
    }

    /// Lets go of its copy of the map until the next access: what is taken off the bus meanwhile is held by nobody here.
    pub fn forget(&mut self) {
        self.map = Arc::default();
        // No bus changes so often.
        self.generation = u64::MAX;
    }

    fn find(&mut self, addr: u64, width: Width) -> Option<&Range> {
        self.refresh();
        let last = addr.checked_add(width.bytes() - 1)?;
        let covers = |range: &Range| range.start <= addr && last <= range.last;
        if !self.map.ranges.get(self.last_hit).is_some_and(covers) {
            self.last_hit = self.map.ranges.partition_point(|range| range.last < addr);
        }
        self.map.ranges.get(self.last_hit).filter(|range| covers(range))
    }

    fn refresh(&mut self) {
        // Pairs with the increment in `Bus::change`: a device seen as mapped is found.
        let generation = self.bus.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.map = self.bus.map.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
    }
}

#[cfg(test)]
#[path = "bus_test.rs"]
mod tests;

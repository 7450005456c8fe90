//! Records of words from one thread to another, bounded: who writes never waits, and drops what has
//! no room.
//!
//! A record is its length, some words, and some bytes packed into words. `tests/loom.rs` tries all
//! interleavings: a record is seen whole or not at all.

use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// What both ends share. Positions count words since the beginning; the lines of both ends are
/// apart.
struct Ring {
    words: Box<[AtomicU64]>,
    head: Line,
    tail: Line,
    closed: AtomicBool,
}

#[repr(align(128))]
struct Line(AtomicU64);

/// The end that writes.
pub struct Sink {
    ring: Arc<Ring>,
    tail: u64,
    /// Up to where the other end has read, as seen last.
    head: u64,
}

/// The end that reads.
pub struct Source {
    ring: Arc<Ring>,
    head: u64,
    /// Up to where there are records, as seen last.
    tail: u64,
}

/// A ring of `words` words, rounded up to a power of two.
pub fn word_ring(words: usize) -> (Sink, Source) {
    let words = (0..words.next_power_of_two()).map(|_| AtomicU64::new(0)).collect();
    let line = || Line(AtomicU64::new(0));
    let ring = Ring { words, head: line(), tail: line(), closed: AtomicBool::new(false) };
    let ring = Arc::new(ring);
    (Sink { ring: ring.clone(), tail: 0, head: 0 }, Source { ring, head: 0, tail: 0 })
}

impl Ring {
    fn capacity(&self) -> u64 {
        self.words.len() as u64
    }

    /// The `count` words from position `at` on, in two slices; at most all there are.
    #[inline]
    fn places(&self, at: u64, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let start = (at & self.capacity().wrapping_sub(1)) as usize; // below their number
        let (before, from) = self.words.split_at_checked(start).unwrap_or_default();
        let straight = from.get(..count).unwrap_or(from);
        let wrapped = before.get(..count.saturating_sub(straight.len())).unwrap_or(before);
        (straight, wrapped)
    }

    /// The same, in order.
    fn words(&self, at: u64, count: usize) -> impl Iterator<Item = &AtomicU64> {
        let (straight, wrapped) = self.places(at, count);
        straight.iter().chain(wrapped)
    }
}

/// Stores values from the front of two slices on; returns what of them is left.
#[inline]
fn fill<'a>(
    straight: &'a [AtomicU64],
    wrapped: &'a [AtomicU64],
    mut values: impl ExactSizeIterator<Item = u64>,
) -> (&'a [AtomicU64], &'a [AtomicU64]) {
    let store = |places: &[AtomicU64], values: &mut dyn Iterator<Item = u64>| {
        for (place, value) in places.iter().zip(values) {
            place.store(value, Ordering::Relaxed);
        }
    };
    match straight.split_at_checked(values.len()) {
        Some((places, straight)) => {
            for (place, value) in places.iter().zip(values) {
                place.store(value, Ordering::Relaxed);
            }
            (straight, wrapped)
        }
        None => {
            store(straight, &mut values.by_ref().take(straight.len()));
            let (places, wrapped) =
                wrapped.split_at_checked(values.len()).unwrap_or((wrapped, &[]));
            store(places, &mut values);
            (&[], wrapped)
        }
    }
}

impl Sink {
    /// Appends a record; false, and nothing written, if there is no room for it now.
    #[inline]
    pub fn push(&mut self, words: &[u64], bytes: &[u8]) -> bool {
        let packed = bytes.len().div_ceil(size_of::<u64>());
        let count = words.len().saturating_add(packed).saturating_add(1);
        let after = self.tail.wrapping_add(count as u64);
        if after.wrapping_sub(self.head) > self.ring.capacity() {
            self.head = self.ring.head.0.load(Ordering::Acquire); // pairs with `pop`
            if after.wrapping_sub(self.head) > self.ring.capacity() {
                return false;
            }
        }
        let (straight, wrapped) = self.ring.places(self.tail, count);
        // Most records do not wrap; then these are plain loops over one slice each.
        let length = [count as u64];
        let rest = fill(straight, wrapped, length.iter().copied());
        let rest = fill(rest.0, rest.1, words.iter().copied());
        let (whole, tail) = bytes.as_chunks::<8>();
        let rest = fill(rest.0, rest.1, whole.iter().map(|eight| u64::from_le_bytes(*eight)));
        if !tail.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            fill(rest.0, rest.1, std::iter::once(u64::from_le_bytes(last)));
        }
        self.tail = after;
        self.ring.tail.0.store(after, Ordering::Release); // pairs with `see`
        true
    }

    /// Words written since the beginning.
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// The other end is gone.
    pub fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Relaxed)
    }
}

impl Source {
    /// Whether there is a record.
    fn see(&mut self) -> bool {
        if self.head == self.tail {
            self.tail = self.ring.tail.0.load(Ordering::Acquire); // pairs with `push`
        }
        self.head != self.tail
    }

    /// The first word of the oldest record.
    pub fn peek(&mut self) -> Option<u64> {
        if !self.see() {
            return None;
        }
        let first = self.ring.words(self.head.wrapping_add(1), 1).next()?;
        Some(first.load(Ordering::Relaxed))
    }

    /// Takes the oldest record in place of what is in `into`; false if there is none.
    pub fn pop(&mut self, into: &mut Vec<u64>) -> bool {
        into.clear();
        if !self.see() {
            return false;
        }
        let len = self.ring.words(self.head, 1).next().map_or(1, |len| len.load(Ordering::Relaxed));
        let rest = self.ring.words(self.head.wrapping_add(1), len.saturating_sub(1) as usize);
        into.extend(rest.map(|word| word.load(Ordering::Relaxed)));
        self.head = self.head.wrapping_add(len);
        // Pairs with `push`: who sees the room may write there, as all was read.
        self.ring.head.0.store(self.head, Ordering::Release);
        true
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Alone: nothing else is told by it.
        self.ring.closed.store(true, Ordering::Relaxed);
    }
}

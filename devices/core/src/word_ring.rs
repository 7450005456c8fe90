//! Records of words from one thread to another, bounded: who writes never waits, and drops what has
//! no room.
//!
//! A record is its length, some words, and some bytes packed into words. `tests/loom.rs` tries all
//! interleavings: a record is seen whole or not at all.

use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicU64, Cells, Ordering};

/// What both ends share. Positions count words since the beginning; the lines of both ends are
/// apart. Words from head to tail are the reader's, all others are the writer's.
struct Ring {
    words: Cells,
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
    let line = || Line(AtomicU64::new(0));
    let words = Cells::new(words.next_power_of_two());
    let ring = Ring { words, head: line(), tail: line(), closed: AtomicBool::new(false) };
    let ring = Arc::new(ring);
    (Sink { ring: ring.clone(), tail: 0, head: 0 }, Source { ring, head: 0, tail: 0 })
}

impl Ring {
    fn capacity(&self) -> u64 {
        self.words.len() as u64
    }

    /// Where the `count` words from position `at` on are: the first place, how many are there, and
    /// how many at the ring's beginning.
    #[inline]
    fn places(&self, at: u64, count: usize) -> (usize, usize, usize) {
        let start = (at & self.capacity().wrapping_sub(1)) as usize; // below their number
        let straight = count.min(self.words.len().saturating_sub(start));
        (start, straight, count.saturating_sub(straight))
    }
}

impl Sink {
    /// Appends a record; false, and nothing written, if there is no room for it now.
    pub fn push(&mut self, words: &[u64], bytes: &[u8]) -> bool {
        self.push_with(words, bytes.len(), |front, back| {
            let (first, rest) = bytes.split_at_checked(front.len()).unwrap_or_default();
            front.copy_from_slice(first);
            back.copy_from_slice(rest);
        })
    }

    /// The same with `len` bytes that `fill` puts in place; the second slice has those beyond the
    /// ring's end, mostly none.
    #[inline]
    pub fn push_with(
        &mut self,
        words: &[u64],
        len: usize,
        fill: impl FnOnce(&mut [u8], &mut [u8]),
    ) -> bool {
        let packed = len.div_ceil(size_of::<u64>());
        let count = words.len().saturating_add(packed).saturating_add(1);
        let after = self.tail.wrapping_add(count as u64);
        if after.wrapping_sub(self.head) > self.ring.capacity() {
            self.head = self.ring.head.0.load(Ordering::Acquire); // pairs with `pop`
            if after.wrapping_sub(self.head) > self.ring.capacity() {
                return false;
            }
        }
        let (start, straight, wrapped) = self.ring.places(self.tail, count);
        let cells = &self.ring.words;
        // SAFETY: the reader has left these words, as was seen by the load of its head, now or
        // before, and gets none of them before the store of our tail. The two parts do not overlap.
        unsafe {
            cells.write(start, straight, |front| {
                cells.write(0, wrapped, |back| write_record(front, back, words, len, fill));
            });
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
        let mut first = None;
        self.each_part(self.head.wrapping_add(1), 1, |part| {
            first = first.or(part.first().copied())
        });
        first.map(u64::from_ne_bytes)
    }

    /// Takes the oldest record in place of what is in `into`; false if there is none.
    pub fn pop(&mut self, into: &mut Vec<u64>) -> bool {
        into.clear();
        if !self.see() {
            return false;
        }
        let mut len = 1;
        self.each_part(self.head, 1, |part| {
            part.iter().for_each(|count| len = u64::from_ne_bytes(*count));
        });
        self.each_part(self.head.wrapping_add(1), len.saturating_sub(1) as usize, |part| {
            into.extend(part.iter().map(|word| u64::from_ne_bytes(*word)));
        });
        self.head = self.head.wrapping_add(len);
        // Pairs with `push_with`: who sees the room may write there, as all was read.
        self.ring.head.0.store(self.head, Ordering::Release);
        true
    }

    /// Shows words of the oldest record, up to the ring's end and from its beginning on.
    fn each_part(&self, at: u64, count: usize, mut with: impl FnMut(&[[u8; 8]])) {
        let (start, straight, wrapped) = self.ring.places(at, count);
        // SAFETY: they are between our head and the tail that was loaded, so the writer has left
        // them, and has them again only after the store of our head.
        unsafe {
            self.ring.words.read(start, straight, &mut with);
            self.ring.words.read(0, wrapped, &mut with);
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Alone: nothing else is told by it.
        self.ring.closed.store(true, Ordering::Relaxed);
    }
}

/// Writes a record into exactly the places that it needs: their number, words, then `len` bytes.
#[inline]
fn write_record(
    front: &mut [[u8; 8]],
    back: &mut [[u8; 8]],
    words: &[u64],
    len: usize,
    fill: impl FnOnce(&mut [u8], &mut [u8]),
) {
    let count = front.len().saturating_add(back.len()) as u64;
    let Some((first, front)) = front.split_first_mut() else { return };
    *first = count.to_ne_bytes();
    let (here, there) = words.split_at(words.len().min(front.len()));
    let (head, body) = front.split_at_mut(here.len());
    head.iter_mut().zip(here).for_each(|(place, word)| *place = word.to_ne_bytes());
    let (head, rest) = back.split_at_mut(there.len().min(back.len()));
    head.iter_mut().zip(there).for_each(|(place, word)| *place = word.to_ne_bytes());
    // Its end may be no byte of the record's.
    if let Some(last) = rest.last_mut().or(body.last_mut()) {
        *last = [0; 8];
    }
    let (body, rest) = (body.as_flattened_mut(), rest.as_flattened_mut());
    let in_body = len.min(body.len());
    if let (Some(body), Some(rest)) =
        (body.get_mut(..in_body), rest.get_mut(..len.saturating_sub(in_body)))
    {
        fill(body, rest);
    }
}

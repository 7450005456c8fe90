//! Which clusters of a disk an overlay has, as all lanes of the disk know it.
//!
//! A cluster is the base's until somebody has written all of it to the overlay. Who is about to do that
//! claims it, so that nobody else does, and lets go of it afterwards; nobody waits for one while he has another. What is
//! in the overlay stays there.
//!
//! The file learns of it by flushes, one at a time: what is there when a flush begins goes to the file when
//! the data is on the medium.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::header::{PAGE, clusters, map_bytes};

/// Clusters of a word.
const BITS: u64 = 64;
/// Words of a page.
const WORDS: usize = (PAGE / 8) as usize;

/// Bits that any thread sets.
#[derive(Debug)]
struct Set(Box<[AtomicU64]>);

impl Set {
    fn new(bits: u64) -> Set {
        Set((0..bits.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect())
    }

    fn word(&self, index: u64) -> u64 {
        self.0.get(index as usize).map_or(0, |word| word.load(SeqCst))
    }

    fn has(&self, bit: u64) -> bool {
        self.word(bit / BITS) & mask(&(bit..bit.wrapping_add(1))) != 0
    }

    /// How many bits from the first of `range` on are as that is.
    fn run(&self, range: Range<u64>) -> (bool, u64) {
        let set = self.has(range.start);
        let mut at = range.start;
        while at < range.end {
            let word = self.word(at / BITS);
            let same = if set { word } else { !word };
            let run = u64::from(in_word(same, at).trailing_ones());
            let left = BITS.wrapping_sub(at % BITS);
            at = at.saturating_add(run.min(left));
            if run < left {
                break;
            }
        }
        (set, at.min(range.end).saturating_sub(range.start))
    }

    /// What of `range` is in each of the words that it meets.
    fn words<'a>(
        &'a self,
        range: &Range<u64>,
    ) -> impl Iterator<Item = (&'a AtomicU64, Range<u64>)> + use<'a> {
        let Range { start, end } = *range;
        let first = start / BITS;
        let words = self.0.iter().skip(first as usize).zip(first..);
        words.map_while(move |(word, index)| {
            let begin = index.saturating_mul(BITS);
            let part = start.max(begin)..end.min(begin.saturating_add(BITS));
            (part.start < part.end).then_some((word, part))
        })
    }

    fn set(&self, range: &Range<u64>) {
        for (word, part) in self.words(range) {
            word.fetch_or(mask(&part), SeqCst);
        }
    }

    fn clear(&self, range: &Range<u64>) {
        for (word, part) in self.words(range) {
            word.fetch_and(!mask(&part), SeqCst);
        }
    }

    /// Sets bits up to the first that somebody else has set; how many.
    fn claim(&self, range: &Range<u64>) -> u64 {
        let mut claimed = 0u64;
        for (word, part) in self.words(range) {
            let (start, len) = (part.start, part.end.saturating_sub(part.start));
            let mut free = 0;
            // None that is not kept, not for a moment: nobody would tell who finds it taken.
            let _ = word.fetch_update(SeqCst, SeqCst, |before| {
                free = u64::from(in_word(before, start).trailing_zeros()).min(len);
                Some(before | mask(&(start..start.saturating_add(free))))
            });
            claimed = claimed.saturating_add(free);
            if free < len {
                break;
            }
        }
        claimed
    }
}

/// The bits of `range`, which is within a word.
fn mask(range: &Range<u64>) -> u64 {
    match range.end.saturating_sub(range.start) {
        0 => 0,
        len => {
            let ones = u64::MAX.wrapping_shr(BITS.saturating_sub(len) as u32);
            ones.wrapping_shl((range.start % BITS) as u32)
        }
    }
}

/// The bits of its word from `bit` on.
fn in_word(word: u64, bit: u64) -> u64 {
    word.wrapping_shr((bit % BITS) as u32)
}

/// What all lanes know.
#[derive(Debug)]
pub struct Map {
    /// How many clusters the disk has.
    clusters: u64,
    /// In the overlay.
    has: Set,
    /// About to be.
    claimed: Set,
    /// The file has them in its map, or will when the flush that is under way has ended.
    kept: Set,
    /// Pages in which `has` and `kept` differ.
    changed: Set,
    /// Pages that the flush under way has to write.
    unwritten: Set,
    /// Lanes that wait for something to be let go of, by their number modulo 64.
    waiting: AtomicU64,
    /// Something was let go of, and nobody has told them yet.
    is_news: AtomicBool,
    flushing: AtomicBool,
    /// How many flushes have begun.
    begun: AtomicU64,
    /// The last that has succeeded.
    done: AtomicU64,
}

impl Map {
    /// Of a disk of `size` bytes, of which the overlay has nothing. One that is never written (`read_only`) knows no
    /// claims and no flushes.
    pub fn new(size: u64, read_only: bool) -> Map {
        let count = clusters(size);
        let others = if read_only { 0 } else { count };
        let pages = if read_only { 0 } else { map_bytes(size) / PAGE };
        Map {
            clusters: count,
            has: Set::new(count),
            claimed: Set::new(others),
            kept: Set::new(others),
            changed: Set::new(pages),
            unwritten: Set::new(pages),
            waiting: AtomicU64::new(0),
            is_news: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Takes page `index` over as the file has it. False if it has clusters that the disk has not.
    pub fn load(&self, index: u64, page: &[u8; PAGE as usize]) -> bool {
        let first = index.saturating_mul(WORDS as u64);
        let (words, _) = page.as_chunks::<8>();
        for (bytes, nth) in words.iter().zip(first..) {
            let word = u64::from_le_bytes(*bytes);
            let begin = nth.saturating_mul(BITS);
            let there = begin..self.clusters.clamp(begin, begin.saturating_add(BITS));
            if word & !mask(&there) != 0 {
                return false;
            }
            for set in [&self.has, &self.kept] {
                if let Some(place) = set.0.get(nth as usize) {
                    place.store(word, SeqCst);
                }
            }
        }
        true
    }

    /// How many clusters the overlay has.
    pub fn count(&self) -> u64 {
        let ones = self.has.0.iter().map(|word| u64::from(word.load(SeqCst).count_ones()));
        ones.fold(0, u64::saturating_add)
    }

    /// Whether the overlay has the first of `clusters`, and of how many that is so.
    pub fn run(&self, clusters: Range<u64>) -> (bool, u64) {
        self.has.run(clusters)
    }

    /// Claims clusters for `lane`, from the first on, that are the base's and nobody's; how many. None if the first is
    /// to be waited for: then the lane is told when something is let go of.
    pub fn claim(&self, lane: u16, clusters: &Range<u64>) -> Option<u64> {
        let mut claimed = self.claimed.claim(clusters);
        if claimed == 0 {
            // Whoever has it may be about to let go of it, and looks at this afterwards.
            self.waits(lane);
            claimed = self.claimed.claim(clusters);
        }
        if claimed == 0 {
            return None;
        }
        // They may have been written since somebody looked.
        let range = clusters.start..clusters.start.saturating_add(claimed);
        let (has, run) = self.has.run(range.clone());
        let good = if has { 0 } else { run };
        self.let_go(&(range.start.saturating_add(good)..range.end));
        Some(good)
    }

    /// Lets go of clusters that were claimed.
    pub fn let_go(&self, clusters: &Range<u64>) {
        if !clusters.is_empty() {
            self.claimed.clear(clusters);
            self.is_news.store(true, SeqCst);
        }
    }

    /// The overlay has these clusters from now on.
    pub fn add(&self, clusters: &Range<u64>) {
        self.has.set(clusters);
        if let Some(last) = clusters.end.checked_sub(1).filter(|last| *last >= clusters.start) {
            self.changed.set(&(page_of(clusters.start)..page_of(last).saturating_add(1)));
        }
    }

    /// Whether the file's map has all of `clusters`, for good.
    pub fn is_kept(&self, clusters: &Range<u64>) -> bool {
        let kept = self.kept.run(clusters.clone());
        // In this order: a flush that is under way has not written yet what it keeps.
        kept == (true, clusters.end.saturating_sub(clusters.start)) && !self.flushing.load(SeqCst)
    }

    /// Whether the overlay has clusters that are not kept.
    pub fn is_changed(&self) -> bool {
        self.changed.0.iter().any(|word| word.load(SeqCst) != 0)
    }

    /// Number of the first flush that has all that was written before this call.
    pub fn next_flush(&self) -> u64 {
        self.begun.load(SeqCst).wrapping_add(1)
    }

    /// Whether flush `number`, or a later one, has succeeded.
    pub fn is_flushed(&self, number: u64) -> bool {
        self.done.load(SeqCst) >= number
    }

    /// Nobody else flushes from now on. False if somebody does; then `lane` is told when he has ended.
    pub fn claim_flush(&self, lane: u16) -> bool {
        self.claim_flush_now() || {
            self.waits(lane);
            self.claim_flush_now()
        }
    }

    /// The same for who does not wait.
    pub fn claim_flush_now(&self) -> bool {
        !self.flushing.swap(true, SeqCst)
    }

    /// Lets go of the flush that was claimed, and not begun.
    pub fn leave_flush(&self) {
        self.flushing.store(false, SeqCst);
        self.is_news.store(true, SeqCst);
    }

    /// Begins the flush that was claimed: what the overlay has now is what it will keep. False, and nothing has begun, if
    /// there is something new for the map and the flush writes none (`writes`).
    pub fn begin_flush(&self, writes: bool) -> bool {
        // First: whoever relies on this flush has added what he has before he looked.
        self.begun.fetch_add(1, SeqCst);
        if !writes {
            return !self.is_changed();
        }
        for (word, first) in self.changed.0.iter().zip((0..).step_by(BITS as usize)) {
            let mut left = word.swap(0, SeqCst);
            while left != 0 {
                let page = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                self.keep(page.saturating_add(first));
            }
        }
        true
    }

    fn keep(&self, page: usize) {
        let words = self.has.0.iter().zip(&self.kept.0);
        for (has, kept) in words.skip(page.saturating_mul(WORDS)).take(WORDS) {
            kept.store(has.load(SeqCst), SeqCst);
        }
        self.unwritten.set(&(page as u64..(page as u64).saturating_add(1)));
    }

    /// The next pages, no more than `most`, that the flush has to write.
    pub fn unwritten(&self, most: u64) -> Option<Range<u64>> {
        let pages = map_pages(self.clusters);
        let (is_first, run) = self.unwritten.run(0..pages);
        let first = if is_first { 0 } else { run };
        if first >= pages {
            return None;
        }
        let (_, count) = self.unwritten.run(first..first.saturating_add(most).min(pages));
        Some(first..first.saturating_add(count))
    }

    /// The words of `pages`, as they are to be written.
    pub fn page_words(&self, pages: &Range<u64>) -> impl Iterator<Item = [u8; 8]> {
        let (first, count) = (pages.start as usize, pages.end.saturating_sub(pages.start) as usize);
        let words = self.kept.0.iter().map(|word| word.load(SeqCst).to_le_bytes());
        // Behind the disk's end the page goes on.
        let words = words.chain(std::iter::repeat([0; 8]));
        words.skip(first.saturating_mul(WORDS)).take(count.saturating_mul(WORDS))
    }

    /// The flush has written them.
    pub fn wrote(&self, pages: &Range<u64>) {
        self.unwritten.clear(pages);
    }

    /// Ends the flush that was claimed. If it has `failed` so will all later ones, as the image is lost.
    pub fn end_flush(&self, failed: bool) {
        if !failed {
            self.done.store(self.begun.load(SeqCst), SeqCst);
        }
        self.leave_flush();
    }

    fn waits(&self, lane: u16) {
        self.waiting.fetch_or(bit_of(lane), SeqCst);
    }

    /// If something was let go of since this was asked last: lanes that wait for that, to be read by [`is_of`]. Who has
    /// let go of something asks afterwards, and tells them.
    #[inline]
    pub fn take_waiting(&self) -> u64 {
        // Whoever waits has said so before he found that he has to.
        match self.is_news.load(SeqCst) && self.is_news.swap(false, SeqCst) {
            true => self.waiting.swap(0, SeqCst),
            false => 0,
        }
    }
}

/// Whether `lane` is among those that wait.
pub fn is_of(waiting: u64, lane: u16) -> bool {
    waiting & bit_of(lane) != 0
}

fn bit_of(lane: u16) -> u64 {
    1u64.wrapping_shl(u32::from(lane) % 64)
}

fn page_of(cluster: u64) -> u64 {
    (cluster / BITS).checked_div(WORDS as u64).unwrap_or_default()
}

fn map_pages(clusters: u64) -> u64 {
    clusters.div_ceil(BITS).div_ceil(WORDS as u64)
}

#[cfg(test)]
#[path = "map_test.rs"]
mod tests;

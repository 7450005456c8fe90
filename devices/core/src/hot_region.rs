//! Memory that a guest gets, and gives up, block by block while it runs.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const BITS: u64 = u64::BITS as u64;

/// Which blocks of a region are plugged: the guest has them, and devices may go there.
///
/// One thread at a time changes them. Whoever looks may be late: what a guest does with a block that comes or goes
/// meanwhile is its own fault.
#[derive(Debug)]
pub struct Blocks {
    /// Bytes of one, as a power of two.
    shift: u32,
    count: u64,
    /// A bit for each, the lowest of the first word first.
    words: Box<[AtomicU64]>,
}

impl Blocks {
    /// None is plugged of a region of `bytes` bytes, in blocks of `block_bytes`, a power of two.
    pub fn new(bytes: u64, block_bytes: u64) -> Blocks {
        let shift = block_bytes.trailing_zeros().min(BITS as u32 - 1);
        let count = bytes >> shift;
        Blocks {
            shift,
            count,
            words: (0..count.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u64 {
        1 << self.shift
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of those that are plugged.
    pub fn plugged_bytes(&self) -> u64 {
        let plugged = |word: &AtomicU64| u64::from(word.load(Relaxed).count_ones());
        self.words.iter().map(plugged).sum::<u64>() << self.shift
    }

    /// Whether all bytes of a range of the region are of plugged blocks.
    #[inline]
    pub fn hold(&self, offset: u64, len: u64) -> bool {
        let Some(last) = len.checked_sub(1) else { return true };
        let Some(last) = offset.checked_add(last) else { return false };
        let first = offset >> self.shift;
        let count = (last >> self.shift).saturating_sub(first).saturating_add(1);
        self.are_plugged(first, count)
    }

    /// Whether `count` blocks from number `first` on are there, and all plugged.
    #[inline]
    pub fn are_plugged(&self, first: u64, count: u64) -> bool {
        self.is_within(first, count)
            && self.parts(first, count).all(|(word, bits)| word.load(Relaxed) & bits == bits)
    }

    /// Whether they are there, and all missing.
    pub fn are_missing(&self, first: u64, count: u64) -> bool {
        self.is_within(first, count)
            && self.parts(first, count).all(|(word, bits)| word.load(Relaxed) & bits == 0)
    }

    /// Plugs `count` blocks from number `first` on, or takes them away, as far as they are there.
    pub fn set(&self, first: u64, count: u64, plugged: bool) {
        let first = first.min(self.count);
        let count = count.min(self.count.saturating_sub(first));
        for (word, bits) in self.parts(first, count) {
            match plugged {
                true => word.fetch_or(bits, Relaxed),
                false => word.fetch_and(!bits, Relaxed),
            };
        }
    }

    /// Plugged blocks as runs, each as the first and their number, in order and apart.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, true)?;
            let end = self.next(first, false).unwrap_or(self.count);
            at = end;
            Some((first, end.saturating_sub(first)))
        })
    }

    /// A bit for each block, the lowest of the first byte first: whether it is plugged.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        bytes.take(usize::try_from(self.count.div_ceil(8)).unwrap_or_default()).collect()
    }

    /// The first block from number `at` on that is plugged, or is not.
    fn next(&self, at: u64, plugged: bool) -> Option<u64> {
        let mut mask = u64::MAX << (at % BITS);
        let from = usize::try_from(at / BITS).ok()?;
        for (nth, word) in (0u64..).zip(self.words.iter()).skip(from) {
            let word = word.load(Relaxed);
            let bits = (if plugged { word } else { !word }) & mask;
            if bits != 0 {
                let found = nth.saturating_mul(BITS).saturating_add(bits.trailing_zeros().into());
                return (found < self.count).then_some(found);
            }
            mask = u64::MAX;
        }
        None
    }

    fn is_within(&self, first: u64, count: u64) -> bool {
        first.checked_add(count).is_some_and(|end| end <= self.count)
    }

    /// The words that `count` blocks from number `first` on are in, with their bits there.
    #[inline]
    fn parts(&self, first: u64, count: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let end = first.saturating_add(count);
        let mut at = first;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (word, bit) = (at / BITS, at % BITS);
            let len = (BITS - bit).min(end - at);
            at = at.saturating_add(len);
            let bits = (u64::MAX >> (BITS - len)) << bit;
            Some((self.words.get(usize::try_from(word).ok()?)?, bits))
        })
    }
}

/// The region of a machine's RAM that is plugged block by block. Whoever owns it changes one thing at a time.
pub trait HotRegion: Send + Sync {
    /// Guest-physical address of the first block.
    fn start(&self) -> u64;

    /// Which blocks are plugged.
    fn blocks(&self) -> &Blocks;

    /// Gives the guest `count` blocks from number `first` on, all of which are missing. Fails if the host has not so
    /// much memory, or KVM refuses: then they still are.
    fn plug(&self, first: u64, count: u64) -> io::Result<()>;

    /// Takes them away, all of which are plugged: what they held is gone, and its memory is back with the host. Fails
    /// if the host does not take some of it; the guest has none of them then either.
    fn unplug(&self, first: u64, count: u64) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: u64 = 2 << 20;

    #[test]
    fn a_range_is_held_if_all_blocks_that_it_touches_are_plugged() {
        let blocks = Blocks::new(200 * BLOCK, BLOCK);
        assert_eq!((blocks.count(), blocks.block_bytes(), blocks.plugged_bytes()), (200, BLOCK, 0));
        blocks.set(60, 10, true);
        assert_eq!(blocks.plugged_bytes(), 10 * BLOCK);
        for (offset, len, held) in [
            (60 * BLOCK, 10 * BLOCK, true),
            (60 * BLOCK, 10 * BLOCK + 1, false),
            (60 * BLOCK - 1, 2, false),
            (64 * BLOCK - 1, 2, true),
            (0, 0, true),
            (0, 1, false),
            (69 * BLOCK, u64::MAX, false),
            (u64::MAX, 2, false),
        ] {
            assert_eq!(blocks.hold(offset, len), held, "{offset:#x} {len:#x}");
        }
        assert!(blocks.are_missing(0, 60) && blocks.are_missing(70, 130));
        assert!(!blocks.are_missing(69, 2) && !blocks.are_missing(70, 131));
        blocks.set(199, u64::MAX, true);
        assert_eq!(blocks.runs().collect::<Vec<_>>(), [(60, 10), (199, 1)]);
        assert_eq!(blocks.to_bytes().len(), 25);
    }

    proptest! {
        #[test]
        fn words_say_what_single_blocks_would(
            count in 1u64..300,
            changes in prop::collection::vec((0u64..320, 0u64..320, any::<bool>()), 0..40),
            asked in prop::collection::vec((0u64..320, 0u64..320), 0..20),
        ) {
            let blocks = Blocks::new(count * BLOCK, BLOCK);
            let mut plain = vec![false; count as usize];
            for (first, len, on) in changes {
                blocks.set(first, len, on);
                (first..(first + len).min(count)).for_each(|at| plain[at as usize] = on);
            }
            for (first, len) in asked {
                let there = first + len <= count;
                let part: Vec<_> = (first..(first + len).min(count)).map(|at| plain[at as usize]).collect();
                prop_assert_eq!(blocks.are_plugged(first, len), there && part.iter().all(|on| *on));
                prop_assert_eq!(blocks.are_missing(first, len), there && part.iter().all(|on| !on));
            }
            let of_runs: Vec<_> = blocks.runs().flat_map(|(first, len)| first..first + len).collect();
            let of_plain: Vec<_> = (0..count).filter(|at| plain[*at as usize]).collect();
            prop_assert_eq!(of_runs, of_plain);
            let bytes = blocks.to_bytes();
            let of_bytes = (0..count as usize).map(|at| bytes[at / 8] >> (at % 8) & 1 != 0);
            prop_assert_eq!(of_bytes.collect::<Vec<_>>(), plain);
        }
    }
}

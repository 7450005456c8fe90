//! Pages of a balloon where the host's are larger: one of those goes back when all of it is in the balloon.

use std::collections::BTreeMap;

/// Pages in one word of marks.
const WORD: u32 = u64::BITS;

/// Which pages are in the balloon, by blocks that the host can take back.
pub(super) struct Blocks {
    /// Pages of a block.
    pages: u32,
    /// Marks of each block that has some of its pages in the balloon, by the block's number.
    held: BTreeMap<u32, Vec<u64>>,
}

impl Blocks {
    /// Of so many pages each; `None` if a page is a block by itself.
    pub fn of(pages: u32) -> Option<Blocks> {
        (pages > 1).then(|| Blocks { pages, held: BTreeMap::new() })
    }

    /// A page of guest memory, by its number, is in the balloon now. The first page of its block, if that made it
    /// whole.
    pub fn add(&mut self, page: u32) -> Option<u32> {
        let (block, nth) = self.place(page)?;
        let words = usize::try_from(self.pages.div_ceil(WORD)).ok()?;
        let marks = self.held.entry(block).or_insert_with(|| vec![0; words]);
        let word = marks.get_mut(usize::try_from(nth / WORD).ok()?)?;
        let before = *word;
        *word |= 1u64 << (nth % WORD);
        let count = |marks: &[u64]| marks.iter().map(|word| word.count_ones()).sum::<u32>();
        let is_whole = *word != before && count(marks) == self.pages;
        is_whole.then(|| block.wrapping_mul(self.pages))
    }

    /// It is no longer.
    pub fn remove(&mut self, page: u32) {
        let Some((block, nth)) = self.place(page) else { return };
        let Some(marks) = self.held.get_mut(&block) else { return };
        if let Some(word) = marks.get_mut((nth / WORD) as usize) {
            *word &= !(1u64 << (nth % WORD));
        }
        if marks.iter().all(|word| *word == 0) {
            self.held.remove(&block);
        }
    }

    /// Each block that has some: its first page, and a bit for each of its pages, the lowest first.
    pub fn held(&self) -> Vec<(u32, Vec<u8>)> {
        let bytes = |marks: &Vec<u64>| marks.iter().flat_map(|word| word.to_le_bytes()).collect();
        let block = |(block, marks): (&u32, _)| (block.wrapping_mul(self.pages), bytes(marks));
        self.held.iter().map(block).collect()
    }

    /// None is.
    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// A page's block, and its number there.
    fn place(&self, page: u32) -> Option<(u32, u32)> {
        Some((page.checked_div(self.pages)?, page.checked_rem(self.pages)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_whole_when_its_last_page_comes_and_not_again() {
        let mut blocks = Blocks::of(512).unwrap();
        for page in (512..1024).rev().filter(|page| *page != 700) {
            assert_eq!(blocks.add(page), None);
        }
        assert_eq!(blocks.add(701), None, "it was there");
        assert_eq!(blocks.add(700), Some(512));
        assert_eq!(blocks.add(700), None);
        blocks.remove(513);
        blocks.remove(513);
        assert_eq!(blocks.add(513), Some(512));
    }

    #[test]
    fn what_left_the_balloon_leaves_no_marks() {
        let mut blocks = Blocks::of(512).unwrap();
        let _ = (0..10_000).filter_map(|page| blocks.add(page)).count();
        (0..10_000).for_each(|page| blocks.remove(page));
        assert!(blocks.held.is_empty());
        blocks.remove(u32::MAX);
        assert_eq!(blocks.add(u32::MAX), None);
        blocks.clear();
        assert!(blocks.held.is_empty());
    }

    #[test]
    fn a_page_alone_needs_no_marks() {
        assert!(Blocks::of(1).is_none());
    }
}

//! Sets of pages of guest memory, by their place in the file that memory is written to.

use super::PAGE;

const BITS: u64 = u64::BITS as u64;

/// Pages of a memory's file, from the first on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet {
    pages: u64,
    /// A bit for each; none behind the last page.
    words: Vec<u64>,
}

impl PageSet {
    /// No page of a file of `bytes` bytes.
    pub fn none(bytes: u64) -> PageSet {
        let pages = bytes.div_ceil(PAGE as u64);
        PageSet { pages, words: vec![0; usize::try_from(pages.div_ceil(BITS)).unwrap_or_default()] }
    }

    /// Adds the pages that `words` has a bit for, of which the first is for page `first`. Pages that the file does not
    /// have are left out.
    pub fn add_words(&mut self, first: u64, words: &[u64]) {
        let at = usize::try_from(first / BITS).unwrap_or(usize::MAX);
        let shift = u32::try_from(first % BITS).unwrap_or_default();
        let places = self.words.iter_mut().skip(at);
        places.zip(words).for_each(|(place, word)| *place |= word << shift);
        if shift > 0 {
            // The rest of each is in the word behind.
            let places = self.words.iter_mut().skip(at.saturating_add(1));
            places.zip(words).for_each(|(place, word)| *place |= word >> (u64::BITS - shift));
        }
        self.cut();
    }

    /// Adds `count` pages from `first` on, as far as the file has them.
    pub fn add(&mut self, first: u64, count: u64) {
        let end = first.saturating_add(count).min(self.pages);
        let mut page = first;
        while page < end {
            let bit = page % BITS;
            let last = (end - page).saturating_add(bit).min(BITS) - 1;
            let bits = (u64::MAX << bit) & (u64::MAX >> (BITS - 1 - last));
            let at = usize::try_from(page / BITS).unwrap_or(usize::MAX);
            if let Some(word) = self.words.get_mut(at) {
                *word |= bits;
            }
            page = page - bit + BITS;
        }
    }

    /// Adds all pages of another set of the same file.
    pub fn add_all(&mut self, other: &PageSet) {
        self.add_words(0, &other.words);
    }

    /// Takes all pages out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// How many pages it has.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether it has the page.
    #[cfg(test)]
    pub fn has(&self, page: u64) -> bool {
        let word = self.words.get(usize::try_from(page / BITS).unwrap_or(usize::MAX));
        word.is_some_and(|word| word >> (page % BITS) & 1 != 0)
    }

    /// Its pages as runs, each as the first and their number, in order and apart.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut page = 0;
        std::iter::from_fn(move || {
            let first = self.next(page, 0)?;
            let end = self.next(first, u64::MAX).unwrap_or(self.pages);
            page = end;
            Some((first, end - first))
        })
    }

    /// The first page from `page` on whose bit is not that of `other`.
    fn next(&self, page: u64, other: u64) -> Option<u64> {
        let at = usize::try_from(page / BITS).unwrap_or(usize::MAX);
        let mut mask = u64::MAX << (page % BITS);
        for (at, word) in self.words.iter().enumerate().skip(at) {
            let bits = (word ^ other) & mask;
            if bits != 0 {
                let page = at as u64 * BITS + u64::from(bits.trailing_zeros());
                return (page < self.pages).then_some(page);
            }
            mask = u64::MAX;
        }
        None
    }

    /// Forgets what is behind the last page.
    fn cut(&mut self) {
        let over = self.pages.next_multiple_of(BITS) - self.pages;
        if let Some(last) = self.words.last_mut() {
            *last &= u64::MAX >> over;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(set: &PageSet) -> Vec<(u64, u64)> {
        set.runs().collect()
    }

    #[test]
    fn runs_go_over_words_and_end_with_the_file() {
        let mut set = PageSet::none(200 * PAGE as u64);
        assert_eq!(runs(&set), []);
        for (first, count) in [(0, 1), (2, 2), (60, 70), (199, 1), (140, 0), (300, 5)] {
            set.add(first, count);
        }
        assert_eq!(runs(&set), [(0, 1), (2, 2), (60, 70), (199, 1)]);
        assert_eq!(set.count(), 74);
        assert!(set.has(129) && !set.has(130) && !set.has(200));
        set.add(198, u64::MAX);
        assert_eq!(runs(&set).last(), Some(&(198, 2)));
        set.add(0, u64::MAX);
        assert_eq!((runs(&set), set.count()), (vec![(0, 200)], 200));
        set.clear();
        assert_eq!(runs(&set), []);
    }

    #[test]
    fn words_are_added_where_they_belong_and_nothing_behind_the_end() {
        let mut set = PageSet::none(130 * PAGE as u64);
        set.add_words(64, &[1 << 63, u64::MAX, u64::MAX]);
        assert_eq!(runs(&set), [(127, 3)]);
        // Wherever the first is.
        let mut odd = PageSet::none(130 * PAGE as u64);
        odd.add_words(3, &[1 | 1 << 63, 1, u64::MAX]);
        assert_eq!(runs(&odd), [(3, 1), (66, 2)]);
        odd.add_words(129, &[3]);
        assert_eq!(runs(&odd), [(3, 1), (66, 2), (129, 1)]);
        let mut other = PageSet::none(130 * PAGE as u64);
        other.add(0, 2);
        other.add_all(&set);
        assert_eq!((runs(&other), other.count()), (vec![(0, 2), (127, 3)], 5));
    }

    #[test]
    fn runs_made_one_by_one_are_those_of_the_set() {
        // Numbers without order, the same each time.
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for pages in [1u64, 63, 64, 65, 1000] {
            let mut set = PageSet::none(pages * PAGE as u64);
            let mut plain = vec![false; pages as usize];
            for _ in 0..pages {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let (first, count) = (seed % pages, seed >> 60);
                set.add(first, count);
                (first..(first + count).min(pages)).for_each(|page| plain[page as usize] = true);
            }
            let of_runs = runs(&set).into_iter().flat_map(|(first, count)| first..first + count);
            let plain: Vec<_> = (0..pages).filter(|page| plain[*page as usize]).collect();
            assert_eq!(of_runs.collect::<Vec<_>>(), plain);
        }
    }
}

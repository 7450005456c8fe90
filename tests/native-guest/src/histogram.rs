//! Times, counted by their length.

/// Counters of each power of two: so fine, and no finer, are times told apart.
const PARTS: u64 = 32;
const PARTS_LOG: u32 = PARTS.ilog2();
const COUNTERS: usize = (64 * PARTS) as usize;

/// How many times there were of each length.
pub struct Histogram {
    counters: [u32; COUNTERS],
    count: u64,
    longest: u64,
}

impl Histogram {
    /// Of none.
    pub const fn new() -> Histogram {
        Histogram { counters: [0; COUNTERS], count: 0, longest: 0 }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counters.fill(0);
        (self.count, self.longest) = (0, 0);
    }

    /// Counts one.
    pub fn add(&mut self, ticks: u64) {
        self.counters[counter_of(ticks)] += 1;
        self.count += 1;
        self.longest = self.longest.max(ticks);
    }

    /// What so many percent of them took at most, in ticks; 0 of none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (counter, count) in self.counters.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return most_of(counter).min(self.longest);
            }
        }
        0
    }

    /// The longest.
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

fn counter_of(ticks: u64) -> usize {
    let shift = (64 - ticks.leading_zeros()).saturating_sub(PARTS_LOG + 1);
    (u64::from(shift) * PARTS + (ticks >> shift)) as usize
}

/// The greatest time that is counted there.
fn most_of(counter: usize) -> u64 {
    let counter = counter as u64;
    if counter < 2 * PARTS {
        return counter;
    }
    let shift = counter / PARTS - 1;
    ((counter - shift * PARTS + 1) << shift) - 1
}

//! When a doorbell was rung, for who measures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The first ring of a doorbell that its worker has not taken note of. Each value stands alone: the
/// doorbell itself orders what has to be.
#[derive(Debug)]
pub struct Stamp {
    wanted: AtomicBool,
    /// Nanoseconds from `zero`; 0 for none.
    rung: AtomicU64,
    zero: Instant,
}

impl Default for Stamp {
    fn default() -> Stamp {
        Stamp { wanted: AtomicBool::new(false), rung: AtomicU64::new(0), zero: Instant::now() }
    }
}

impl Stamp {
    /// Whether rings are to be noted from now on; what was is forgotten.
    pub fn want(&self, on: bool) {
        self.rung.store(0, Ordering::Relaxed);
        self.wanted.store(on, Ordering::Relaxed);
    }

    /// The doorbell is about to be rung.
    #[inline]
    pub fn mark(&self) {
        if self.wanted.load(Ordering::Relaxed) && self.rung.load(Ordering::Relaxed) == 0 {
            let nanos = self.zero.elapsed().as_nanos();
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
            self.rung.store(nanos, Ordering::Relaxed);
        }
    }

    /// When it was rung for the first time since the last call.
    pub fn take(&self) -> Option<Instant> {
        if self.rung.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let nanos = self.rung.swap(0, Ordering::Relaxed);
        self.zero.checked_add(Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ring_is_noted_and_only_if_wanted() {
        let stamp = Stamp::default();
        stamp.mark();
        assert_eq!(stamp.take(), None);
        stamp.want(true);
        let before = Instant::now();
        stamp.mark();
        let first = Instant::now();
        stamp.mark();
        let noted = stamp.take().unwrap();
        assert!(before <= noted && noted <= first);
        assert_eq!(stamp.take(), None);
        stamp.mark();
        stamp.want(false);
        assert_eq!(stamp.take(), None);
    }
}

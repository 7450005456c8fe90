//! When a machine is paused whose memory is on its way.

use std::time::Duration;

use super::spec::{AtLast, Limits};

/// Rounds of fewer pages say nothing about how fast these go.
const TELLING: u64 = 256;

/// How fast pages go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// In a second; `None` as long as nobody knows.
    pages: Option<f64>,
}

impl Pace {
    /// A round of so many pages took so long.
    pub fn see(&mut self, pages: u64, took: Duration) {
        if pages >= TELLING || self.pages.is_none() && pages > 0 {
            self.pages = Some(pages as f64 / took.as_secs_f64().max(1e-6));
        }
    }

    /// Pages in a second.
    pub fn pages_per_second(&self) -> f64 {
        self.pages.unwrap_or(0.0)
    }

    /// How long so many pages would take.
    fn time_of(&self, pages: u64) -> Duration {
        match self.pages {
            Some(pace) => Duration::try_from_secs_f64(pages as f64 / pace).unwrap_or(Duration::MAX),
            None => Duration::ZERO,
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// What was written meanwhile is sent while the machine runs.
    Round,
    /// The machine is paused.
    Pause,
    /// It stays: what is left would take so long.
    GiveUp(Duration),
}

/// What to do after so many `rounds`, with so many pages `left`.
pub fn next(limits: &Limits, pace: &Pace, rounds: u32, left: u64) -> Next {
    let takes = pace.time_of(left);
    match (takes <= limits.downtime, rounds < limits.rounds, limits.at_last) {
        (true, ..) => Next::Pause,
        (false, true, _) => Next::Round,
        (false, false, AtLast::GoOn) => Next::Pause,
        (false, false, AtLast::GiveUp) => Next::GiveUp(takes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(pages: u64, ms: u64) -> Pace {
        let mut pace = Pace::default();
        pace.see(pages, Duration::from_millis(ms));
        pace
    }

    #[test]
    fn a_machine_is_paused_once_the_rest_goes_in_the_time_that_is_left_for_it() {
        let limits = Limits::default();
        // 100,000 pages in a second: 30,000 in 300 ms.
        let pace = pace(100_000, 1000);
        assert_eq!(next(&limits, &pace, 1, 30_000), Next::Pause);
        assert_eq!(next(&limits, &pace, 1, 30_001), Next::Round);
        assert_eq!(next(&limits, &pace, 29, 90_000), Next::Round);
        let given_up = Next::GiveUp(Duration::from_millis(900));
        assert_eq!(next(&limits, &pace, 30, 90_000), given_up);
        let stubborn = Limits { at_last: AtLast::GoOn, ..limits };
        assert_eq!(next(&stubborn, &pace, 30, 90_000), Next::Pause);
        assert_eq!(next(&limits, &Pace::default(), 1, 5), Next::Pause, "there was nothing to see");
    }

    #[test]
    fn few_pages_say_nothing_about_how_fast_many_go() {
        let mut pace = pace(1000, 10);
        assert_eq!(pace.pages_per_second(), 100_000.0);
        pace.see(3, Duration::from_millis(3));
        assert_eq!(pace.pages_per_second(), 100_000.0);
        pace.see(TELLING, Duration::ZERO);
        assert!(pace.pages_per_second() > 100_000.0 && pace.pages_per_second().is_finite());
    }
}

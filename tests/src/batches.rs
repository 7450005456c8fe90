//! Tests shared out in batches to several runners at once; what a runner loses is run again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::tally::Tally;

/// How tests are shared out.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub runners: usize,
    /// Tests that a runner gets at once; fewer towards the end, so that all are busy until then. It
    /// runs them in their order. Every other runner is given the last ones first, as tests that have something in
    /// common stand side by side.
    pub batch: usize,
    /// Tests that are worth a runner's start; fewer only if there are no more.
    pub least: usize,
    /// Times that a test is run whose runner ends without a word about it.
    pub tries_if_lost: u32,
    /// Times that a test is run that fails.
    pub tries_if_failed: u32,
}

struct Test {
    name: String,
    /// Times it was run.
    tried: u32,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Test>,
    tally: Tally,
}

/// Runs all tests of these names; `run` gets the runner's number and a batch, and returns what became of it.
pub fn run(
    names: Vec<String>,
    rules: &Rules,
    run: impl Fn(usize, &[String]) -> Tally + Sync,
) -> Tally {
    let waiting = names.into_iter().map(|name| Test { name, tried: 0 }).collect();
    let state = Mutex::new(State { waiting, tally: Tally::default() });
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let work = |runner| {
        loop {
            let batch = lock().take(runner, rules);
            if batch.is_empty() {
                return;
            }
            let names: Vec<_> = batch.iter().map(|test| test.name.clone()).collect();
            let told = run(runner, &names);
            lock().put_back(batch, told, rules);
        }
    };
    std::thread::scope(|scope| {
        for runner in 0..rules.runners {
            scope.spawn(move || work(runner));
        }
    });
    state.into_inner().unwrap_or_else(PoisonError::into_inner).tally
}

impl State {
    /// The next tests; one that was run before is taken alone, so that it takes no other down with it.
    fn take(&mut self, runner: usize, rules: &Rules) -> Vec<Test> {
        let share = self.waiting.len().div_ceil(2 * rules.runners.max(1));
        let most = share.max(rules.least).min(rules.batch);
        let is_fresh = |test: &&Test| test.tried == 0;
        // Those that were run before have gone to the end.
        let fresh = self.waiting.iter().take_while(is_fresh).count();
        let count = fresh.min(most).max(1).min(self.waiting.len());
        let from = if runner % 2 == 1 { fresh.saturating_sub(count) } else { 0 };
        self.waiting.drain(from..from + count).collect()
    }

    fn put_back(&mut self, batch: Vec<Test>, told: Tally, rules: &Rules) {
        let mut is_lost = false;
        for mut test in batch {
            if is_lost && !told.has(&test.name) {
                // The runner did not come to it.
                self.waiting.push_back(test);
                continue;
            }
            test.tried += 1;
            let failed = told.failed.contains(&test.name);
            if told.passed.contains(&test.name) {
                self.tally.passed.push(test.name);
            } else if let Some(skipped) = told.why_skipped(&test.name) {
                self.tally.skipped.push(skipped.clone());
            } else {
                let (what, tries) = if failed {
                    ("failed", rules.tries_if_failed)
                } else {
                    is_lost = true;
                    ("was lost with its runner", rules.tries_if_lost)
                };
                if test.tried < tries {
                    self.tally.repeated.push(format!("{} (try {} {what})", test.name, test.tried));
                    self.waiting.push_back(test);
                } else {
                    self.tally.failed.push(test.name);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "batches_test.rs"]
mod tests;

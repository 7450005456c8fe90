//! Jobs side by side, as many at once as there are CPUs, and what became of them all.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::tally::Tally;

/// Runs `one` for each job, which begin in their order; it is told which runner it is, from 0 on.
pub fn run<T: Sync>(jobs: &[T], one: impl Fn(usize, &T) -> Tally + Sync) -> Tally {
    let state = Mutex::new((jobs.iter(), Tally::default()));
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let work = |runner| {
        loop {
            // Its own statement: the lock is not held while the job runs.
            let next = lock().0.next();
            let Some(job) = next else { return };
            let told = one(runner, job);
            lock().1.append(told);
        }
    };
    let cpus = thread::available_parallelism().map_or(1, |count| count.get());
    thread::scope(|scope| {
        for runner in 0..cpus {
            scope.spawn(move || work(runner));
        }
    });
    state.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

#[cfg(test)]
#[path = "abreast_test.rs"]
mod tests;

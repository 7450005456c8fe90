//! Resets of a disk that has much to do.

use super::exercise::Exercise;
use super::{Disk, report};
use crate::clock::wait;
use crate::options::Options;

/// Requests that are tried before each reset.
const TRIES: u64 = 96;
/// Longest time, as a power of two of ticks, that the disk has for them.
const LONGEST: u64 = 20;

/// Resets it `count=` times with requests in flight, checks each time that nothing of them comes later, and at the end
/// that each sector is what it was or was to be. Reports have the resets as requests.
pub fn run<D: Disk>(open: impl Fn() -> D, options: &Options) -> ! {
    let mut exercise = Exercise::new(open(), options.area, options.seed);
    let mut caught = 0;
    for _ in 0..options.count {
        for queue in (0..exercise.geometry.queues).cycle().take(TRIES as usize) {
            exercise.put_any(queue);
        }
        exercise.show();
        // Half of the time at once.
        if exercise.random.one_in(2) {
            wait(exercise.random.of_any_size(LONGEST));
            exercise.take_all();
        }
        let forgotten = exercise.forget(open());
        caught += forgotten.iter().flatten().count() as u64;
        exercise.settle(&forgotten);
        exercise.count_late(&forgotten);
    }
    exercise.read_all();
    exercise.sum_up();
    let results = &mut exercise.results;
    (results.step, results.requests, results.longest) = (1, options.count, caught);
    report::tell(&mut exercise.disk, &exercise.results);
    report::rest()
}

//! Reads and writes of all sizes and alignments, many at once, of which each is checked.

use super::exercise::Exercise;
use super::{Disk, report};
use crate::clock::now;
use crate::options::Options;

/// Does so until `count=` bytes are read and written, reads all of the area once more, and reports that.
pub fn run(disk: impl Disk, options: &Options) -> ! {
    let mut exercise = Exercise::new(disk, options.area, options.seed);
    let begun = now();
    while exercise.results.bytes < options.count {
        for queue in 0..exercise.geometry.queues {
            for _ in 0..exercise.random.below(u64::from(exercise.geometry.in_flight)) {
                exercise.put_any(queue);
            }
        }
        exercise.show();
        exercise.take_all();
    }
    exercise.drain();
    exercise.read_all();
    exercise.results.cycles = now().wrapping_sub(begun);
    exercise.sum_up();
    exercise.results.step = 1;
    report::tell(&mut exercise.disk, &exercise.results);
    report::rest()
}

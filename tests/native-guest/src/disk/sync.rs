//! Steps of writes, each flushed and then told of: whatever happens next, all steps that were told are on the disk.

use super::exercise::Exercise;
use super::{Disk, Operation, report};
use crate::options::Options;

/// Parts of the disk from its begin on, one for each step in turn, and sectors of a part.
const PARTS: u64 = 64;
const SECTORS: u64 = 64;
/// Sectors of a request.
const EACH: u64 = 8;

/// Does so for ever. In step `n` each sector of part `n % 64` is written for the `n`th time, and no other.
pub fn run(disk: impl Disk, options: &Options) -> ! {
    let mut exercise = Exercise::new(disk, PARTS * SECTORS * super::SECTOR, options.seed);
    let queues = exercise.geometry.queues;
    for step in 1..=u32::MAX {
        let from = u64::from(step) % PARTS * SECTORS;
        for (nth, sector) in (from..from + SECTORS).step_by(EACH as usize).enumerate() {
            let queue = nth as u16 % queues;
            while !exercise.put_as(step, queue, Operation::Write, sector, EACH) {
                exercise.show();
                exercise.take_all();
            }
        }
        exercise.drain();
        exercise.put(0, Operation::Flush, 0, 0);
        exercise.drain();
        exercise.results.step = step.into();
        report::tell(&mut exercise.disk, &exercise.results);
    }
    report::rest()
}

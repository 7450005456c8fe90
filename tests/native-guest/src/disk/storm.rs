//! A storm against a disk.

use super::exercise::Exercise;
use super::{Disk, Operation, Piece, Request, report};
use crate::memory::ARENA;
use crate::options::Options;
use crate::pci::Ground;
use crate::random::Random;
use crate::storm::Storm;

/// Bytes that are written and read to show that a disk works.
const PROOF: u64 = 1 << 20;

/// Strikes as often as `count=` says in all, with requests of all kinds in flight, and shows behind each part of it
/// that the disk works, by a report whose step is the part, and whose bytes are the strikes so far.
pub fn run<D: Disk>(open: impl Fn() -> D, ground: &Ground, options: &Options) -> ! {
    let mut storm = Storm::new(ground, options);
    let mut random = Random(options.seed);
    let mut results = report::Results::default();
    loop {
        let strikes = storm.part(|turn| {
            let mut disk = open();
            sow(&mut disk, &mut random);
            Some(disk.targets(turn as u16 % options.queues))
        });
        let mut exercise = Exercise::new(open(), PROOF, options.seed);
        exercise.write_all();
        exercise.read_all();
        let done = exercise.results;
        results.step += 1;
        results.requests += done.requests;
        results.bytes = strikes;
        results.refused += done.refused;
        results.wrong += done.wrong;
        results.stray += done.stray;
        report::tell(&mut exercise.disk, &results);
        if strikes >= options.count {
            report::rest();
        }
    }
}

/// Puts requests wherever there is room, and some beyond the disk's end.
fn sow(disk: &mut impl Disk, random: &mut Random) {
    let geometry = disk.geometry();
    for queue in 0..geometry.queues {
        for tag in 0..geometry.in_flight {
            let operation = match random.below(8) {
                0 => Operation::Flush,
                n if n < 4 => Operation::Read,
                _ => Operation::Write,
            };
            let blocks = 1 + random.of_any_size(7);
            let sector = random.below(geometry.sectors / geometry.block + 8) * geometry.block;
            let at = ARENA + (random.below(8 << 20) & !0xfff);
            let len = (blocks * geometry.block * 512) as u32;
            let pieces = [Piece { at, len }];
            let pieces = if operation == Operation::Flush { &[][..] } else { &pieces };
            disk.put(queue, tag, Request { operation, sector, pieces });
        }
        disk.show(queue);
    }
}

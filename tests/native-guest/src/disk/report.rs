//! What came of a task, written to the last sectors of the disk: any hypervisor lets that out.

use super::{Disk, Operation, Piece, Request, SECTOR};
use crate::clock::wait;
use crate::memory::{BUFFERS, barrier, write};

/// Its first bytes.
const MARK: [u8; 8] = *b"nativeD1";
/// Bytes at the end of the disk that it has for itself.
pub const LEN: u64 = 4096;
/// Where it is made: before all other buffers.
const AT: u64 = BUFFERS;
/// The tag of its request.
const TAG: u16 = 0;

/// What came of a task, or so far.
#[derive(Clone, Copy, Default)]
pub struct Results {
    /// Grows with each report of a task; what it means is the task's.
    pub step: u64,
    /// Requests that were done, and bytes read and written by them.
    pub requests: u64,
    pub bytes: u64,
    /// Requests that the disk refused.
    pub refused: u64,
    /// Requests that read what nobody had written, or that left their memory.
    pub wrong: u64,
    /// Completions of what was not asked for.
    pub stray: u64,
    /// How long that took, by the CPU's clock.
    pub cycles: u64,
    /// What half, and 99 in a hundred, of the requests took at most, and the longest.
    pub p50: u64,
    pub p99: u64,
    pub longest: u64,
    /// Of all that the disk should have, in the sectors before this one.
    pub digest: u64,
    pub sectors: u64,
}

/// Writes the report: [`MARK`], the numbers in their order above, each of 64 bits, little-endian, and the exclusive or
/// of all of them and the mark. Nothing may be in flight in the first queue. What cannot be written ends the machine.
pub fn tell(disk: &mut impl Disk, results: &Results) {
    let Results { step, requests, bytes, refused, wrong, stray, .. } = *results;
    let Results { cycles, p50, p99, longest, digest, sectors, .. } = *results;
    let numbers = [step, requests, bytes, refused, wrong, stray, cycles, p50, p99, longest];
    let numbers = numbers.into_iter().chain([digest, sectors]);
    write(AT, MARK);
    let (mut at, mut check) = (AT + 8, u64::from_le_bytes(MARK));
    for number in numbers {
        write(at, number.to_le());
        (at, check) = (at + 8, check ^ number);
    }
    write(at, check.to_le());
    let pieces = [Piece { at: AT, len: LEN as u32 }];
    let sector = place(disk);
    let request = Request { operation: Operation::Write, sector, pieces: &pieces };
    wait_for(disk, request);
    wait_for(disk, Request { operation: Operation::Flush, sector: 0, pieces: &[] });
}

/// The sector where reports begin.
pub fn place(disk: &impl Disk) -> u64 {
    let whole = LEN / SECTOR;
    disk.geometry().sectors / whole * whole - whole
}

fn wait_for(disk: &mut impl Disk, request: Request<'_>) {
    barrier();
    disk.put(0, TAG, request);
    disk.show(0);
    loop {
        if let Some((tag, done)) = disk.take(0) {
            assert!(tag == TAG && done);
            return;
        }
    }
}

/// Does nothing any more.
pub fn rest() -> ! {
    loop {
        wait(1 << 30);
    }
}

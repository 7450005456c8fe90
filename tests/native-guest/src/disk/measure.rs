//! Requests of one kind, as many as a disk takes, and what each took.

use core::cell::UnsafeCell;

use super::report::{self, Results};
use super::{Disk, MOST_IN_FLIGHT, MOST_QUEUES, Operation, Piece, Request, SECTOR};
use crate::clock::now;
use crate::histogram::Histogram;
use crate::memory::{BUFFERS, fill};
use crate::options::Options;
use crate::random::Random;

/// Where the buffers begin, behind that of reports.
const DATA: u64 = BUFFERS + (1 << 20);

const MOST: usize = MOST_QUEUES as usize * MOST_IN_FLIGHT as usize;

/// Too large for the stack.
struct Times(UnsafeCell<Histogram>);

// SAFETY: one CPU runs this program, and nothing interrupts it.
unsafe impl Sync for Times {}

static TIMES: Times = Times(UnsafeCell::new(Histogram::new()));

/// One kind of request, one after the other or anywhere.
struct Load<'a, D> {
    disk: D,
    options: &'a Options,
    operation: Operation,
    random: Random,
    /// Places on the disk, and the next one.
    places: u64,
    next: u64,
    begun: [u64; MOST],
    in_flight: usize,
    results: Results,
}

impl<D: Disk> Load<'_, D> {
    fn put(&mut self, queue: u16, tag: u16) {
        let place = if self.options.sequential {
            self.next = (self.next + 1) % self.places;
            self.next
        } else {
            self.random.below(self.places)
        };
        let index = usize::from(queue) * usize::from(self.options.in_flight) + usize::from(tag);
        let len = u64::from(self.options.block);
        let pieces = [Piece { at: DATA + index as u64 * len, len: self.options.block }];
        let request =
            Request { operation: self.operation, sector: place * (len / SECTOR), pieces: &pieces };
        self.disk.put(queue, tag, request);
        self.begun[index] = now();
        self.in_flight += 1;
    }

    fn fill(&mut self) {
        let queues = self.disk.geometry().queues;
        for queue in 0..queues {
            for tag in 0..self.options.in_flight {
                self.put(queue, tag);
            }
            self.disk.show(queue);
        }
    }

    /// Takes what is done, and puts as much again if `more` is wanted.
    fn turn(&mut self, times: &mut Histogram, more: bool) {
        for queue in 0..self.disk.geometry().queues {
            let mut any = false;
            while let Some((tag, done)) = self.disk.take(queue) {
                assert!(tag < self.options.in_flight);
                let index = usize::from(queue) * usize::from(self.options.in_flight);
                times.add(now().wrapping_sub(self.begun[index + usize::from(tag)]));
                self.in_flight -= 1;
                self.results.requests += 1;
                self.results.bytes += u64::from(self.options.block);
                self.results.refused += u64::from(!done);
                any = true;
                if more {
                    self.put(queue, tag);
                }
            }
            if any {
                self.disk.show(queue);
            }
        }
    }

    fn run(&mut self, times: &mut Histogram, ticks: u64) {
        self.fill();
        let begun = now();
        while now().wrapping_sub(begun) < ticks {
            self.turn(times, true);
        }
        self.results.cycles = now().wrapping_sub(begun);
        while self.in_flight > 0 {
            self.turn(times, false);
        }
    }
}

/// Does so for a quarter of the ticks that were asked for, reports that it has begun, does so for all of them, and
/// reports what came of it.
pub fn run(disk: impl Disk, operation: Operation, options: &Options) -> ! {
    // SAFETY: it is used nowhere else.
    let times = unsafe { &mut *TIMES.0.get() };
    let block = u64::from(options.block);
    let geometry = disk.geometry();
    assert!(block.is_multiple_of(geometry.block * SECTOR) && block <= geometry.most);
    let places = (report::place(&disk) * SECTOR).min(options.area) / block;
    fill(DATA, block * u64::from(options.queues) * u64::from(options.in_flight), 0x5a);
    let mut load = Load {
        disk,
        options,
        operation,
        random: Random(options.seed),
        places,
        next: 0,
        begun: [0; MOST],
        in_flight: 0,
        results: Results::default(),
    };
    load.run(times, options.ticks / 4);
    load.results = Results { step: 1, ..Results::default() };
    report::tell(&mut load.disk, &load.results);
    times.clear();
    load.run(times, options.ticks);
    load.results.step = 2;
    (load.results.p50, load.results.p99) = (times.percentile(50), times.percentile(99));
    load.results.longest = times.longest();
    report::tell(&mut load.disk, &load.results);
    report::rest()
}

//! A small virtio-balloon driver: gives pages up and takes them back, tells of free ones and of memory.

use std::sync::Arc;

use super::guest::TestGuest;
use super::ring::writable;
use crate::balloon::{
    Balloon, BalloonSpec, DEFLATE_ON_OOM, HINTING, POISON, REPORTING, STATISTICS,
};

/// All features of a balloon.
pub const ALL: u64 = STATISTICS | DEFLATE_ON_OOM | HINTING | POISON | REPORTING;

/// Queues with all features.
pub const INFLATE: usize = 0;
/// Takes pages back.
pub const DEFLATE: usize = 1;
/// Tells of memory.
pub const STATS: usize = 2;
/// Tells of free pages on demand.
pub const HINT: usize = 3;
/// Tells of free pages all the time.
pub const REPORT: usize = 4;

/// A balloon with everything, and its driver.
pub struct TestBalloon {
    /// The guest.
    pub guest: TestGuest,
    /// The balloon, without a transport.
    pub balloon: Arc<Balloon>,
}

/// With everything that a balloon can have.
pub fn everything() -> BalloonSpec {
    BalloonSpec {
        amount_mib: 0,
        deflate_on_oom: true,
        statistics_s: 1,
        hinting: true,
        reporting: true,
    }
}

impl TestBalloon {
    /// A balloon with everything, its driver loaded.
    pub fn new() -> TestBalloon {
        let test = TestBalloon::with(&everything(), 5);
        test.start(ALL);
        test
    }

    /// One as `spec` has it, of so many queues, its driver not yet loaded.
    pub fn with(spec: &BalloonSpec, queues: u16) -> TestBalloon {
        let guest = TestGuest::new(queues, false);
        let balloon = Balloon::build(spec, &guest.machine.kit());
        TestBalloon { guest, balloon }
    }

    /// Loads the driver with these features.
    pub fn start(&self, features: u64) {
        self.guest.plug(&*self.balloon, features);
        self.balloon.settle();
    }

    /// Offers a list of page numbers, and lets the balloon work.
    pub fn send_pages(&mut self, queue: usize, pages: &[u32]) {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        let list = self.guest.readable(&bytes);
        self.guest.queues[queue].offer(&[list]);
        self.run(queue);
    }

    /// Offers free pages, as (start, bytes), and lets the balloon work.
    pub fn send_free(&mut self, queue: usize, ranges: &[(u64, u32)]) {
        let chain: Vec<_> = ranges.iter().map(|(start, len)| writable(*start, *len)).collect();
        self.guest.queues[queue].offer(&chain);
        self.run(queue);
    }

    /// Says `command` on the queue of hints, and lets the balloon work.
    pub fn say(&mut self, command: u32) {
        let said = self.guest.readable(&command.to_le_bytes());
        self.guest.queues[HINT].offer(&[said]);
        self.run(HINT);
    }

    /// Kicks, and returns after turns of the balloon that are enough for any chain of a test.
    pub fn run(&mut self, queue: usize) {
        self.guest.queues[queue].force_kick();
        (0..40).for_each(|_| self.balloon.settle());
    }

    /// What went back to the host since the last call, as (start, bytes).
    pub fn given_back(&self) -> Vec<(u64, u64)> {
        self.guest.machine.reclaim.take()
    }
}

impl Default for TestBalloon {
    fn default() -> TestBalloon {
        TestBalloon::new()
    }
}

//! What a power cut of the host leaves of a disk, by a model of the host's cache: at any moment, whatever was promised is
//! there; and what was promised by nobody need not be.

use proptest::prelude::*;

use crate::engine::script::{Answer, Asked};
use crate::request::{Operation, Outcome, SECTOR};
use crate::spec::{Cache, DiskSpec};
use crate::task::Call;
use crate::testing::Bench;

/// Sectors of the disk that are written.
const SECTORS: usize = 24;
/// Where requests have their data in the guest's memory, each a part of its own.
const AT: u64 = 0x1_0000;
const ROOM: u64 = 0x2000;

/// What was last written where, by numbers that grow.
type Versions = [u32; SECTORS];

/// Version `new` in those of these sectors that have an older one.
fn raise(versions: &mut Versions, sectors: std::ops::Range<usize>, new: u32) {
    for version in &mut versions[sectors] {
        *version = new.max(*version);
    }
}

/// The host: what it would have after a power cut, and what it has in its cache only.
#[derive(Default)]
struct Host {
    stable: Versions,
    /// Written, not yet on the medium, and in which order.
    cached: Vec<(u64, std::ops::Range<usize>, u32)>,
    order: u64,
    /// Calls that it was asked for and has not done, with what was in its cache when it was asked.
    asked: Vec<(Asked, u64)>,
}

impl Host {
    /// Hears what it was asked for since it was told last.
    fn hear(&mut self, bench: &Bench) {
        let order = self.order;
        self.asked.extend(bench.stage.asked().into_iter().map(|asked| (asked, order)));
        assert_eq!(self.asked.len(), bench.stage.held());
    }

    /// Does call `nth` of those that wait, or fails it.
    fn end(&mut self, bench: &Bench, nth: usize, answer: Answer) {
        let (asked, order) = self.asked.remove(nth);
        bench.stage.answer(&[answer]);
        bench.stage.release(nth);
        let (is_done, most) = match answer {
            Answer::Do => (true, asked.len),
            Answer::Short(bytes) => (true, asked.len.min(bytes.into())),
            Answer::Fail(_) => (false, 0),
        };
        match asked.call {
            Call::Write { durable } if is_done => {
                let first = (asked.offset / SECTOR) as usize;
                let sectors = first..first + (most / SECTOR) as usize;
                let bytes = bench.stage.read(asked.offset, 4);
                let version = u32::from_le_bytes(bytes.try_into().unwrap());
                if durable {
                    raise(&mut self.stable, sectors, version);
                } else {
                    self.order += 1;
                    self.cached.push((self.order, sectors, version));
                }
            }
            // Nobody can tell what came later. And if it fails, Linux forgets what it could not write.
            Call::Sync => {
                let (synced, rest): (Vec<_>, Vec<_>) =
                    self.cached.drain(..).partition(|(at, ..)| *at <= order);
                self.cached = rest;
                for (_, sectors, version) in synced.into_iter().filter(|_| is_done) {
                    raise(&mut self.stable, sectors, version);
                }
            }
            _ => {}
        }
    }
}

/// What the guest has asked for.
#[derive(Clone, Debug)]
enum Wish {
    Write {
        sectors: std::ops::Range<usize>,
        version: u32,
        durable: bool,
    },
    /// With what had been written by then.
    Flush {
        written: Versions,
    },
}

/// The guest: what it was told.
#[derive(Default)]
struct Guest {
    wishes: Vec<Wish>,
    under_way: Vec<usize>,
    written: Versions,
    promised: Versions,
    next: u32,
}

impl Guest {
    fn write(&mut self, bench: &Bench, first: usize, count: usize, durable: bool) {
        let first = first % SECTORS;
        let sectors = first..(first + count).min(SECTORS);
        let meets = |nth: &usize| match &self.wishes[*nth] {
            Wish::Write { sectors: other, .. } => {
                sectors.start < other.end && other.start < sectors.end
            }
            Wish::Flush { .. } => false,
        };
        // Of two at once to one place anything may come.
        if self.under_way.iter().any(meets) {
            return;
        }
        self.next += 1;
        let (version, at) = (self.next, AT + self.wishes.len() as u64 % 512 * ROOM);
        let len = sectors.len() * SECTOR as usize;
        bench.write(at, &version.to_le_bytes().repeat(len / 4));
        let offset = sectors.start as u64 * SECTOR;
        bench.guest.offer(move |request| {
            request.operation = Operation::Write;
            (request.offset, request.durable) = (offset, durable);
            request.buffers.push(at, len as u32).unwrap();
        });
        self.wish(Wish::Write { sectors, version, durable });
    }

    fn flush(&mut self, bench: &Bench) {
        bench.guest.flush();
        self.wish(Wish::Flush { written: self.written });
    }

    fn wish(&mut self, wish: Wish) {
        self.under_way.push(self.wishes.len());
        self.wishes.push(wish);
    }

    /// Takes what is done, and with it what that promises on a disk of this kind.
    fn hear(&mut self, bench: &Bench, cache: Cache) {
        for (token, outcome) in bench.guest.take() {
            let nth = token as usize;
            self.under_way.retain(|other| *other != nth);
            if outcome != Outcome::Done {
                continue;
            }
            match self.wishes[nth].clone() {
                Wish::Write { sectors, version, durable } => {
                    raise(&mut self.written, sectors.clone(), version);
                    if durable || cache == Cache::Writethrough {
                        raise(&mut self.promised, sectors, version);
                    }
                }
                Wish::Flush { written } => {
                    for (promised, written) in self.promised.iter_mut().zip(written) {
                        *promised = written.max(*promised);
                    }
                }
            }
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write {
        first: usize,
        count: usize,
        durable: bool,
    },
    Flush,
    /// The host does one of the calls that wait, says that it came no further than so many sectors, or fails it.
    Done(usize),
    Short(usize, u32),
    Fails(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..SECTORS, 1usize..9, prop::bool::weighted(0.2))
            .prop_map(|(first, count, durable)| Step::Write { first, count, durable }),
        2 => Just(Step::Flush),
        8 => any::<usize>().prop_map(Step::Done),
        1 => (any::<usize>(), 1u32..8).prop_map(|(nth, sectors)| Step::Short(nth, sectors)),
        1 => any::<usize>().prop_map(Step::Fails),
    ]
}

/// Plays it. After each step the power may fail: returns the first sector, if there is one, that would have less than was
/// promised.
fn lost(cache: Cache, direct: bool, steps: &[Step]) -> Option<usize> {
    let spec = DiskSpec { cache, ..DiskSpec::on("test", "memory") };
    let bench = if direct { Bench::direct(&spec, 4096, 4096) } else { Bench::new(&spec) };
    bench.stage.hold();
    let (mut host, mut guest) = (Host::default(), Guest::default());
    for step in steps {
        let waiting = host.asked.len();
        let mut end = |nth: usize, answer| {
            if let Some(nth) = nth.checked_rem(waiting) {
                host.end(&bench, nth, answer);
            }
        };
        match *step {
            Step::Write { first, count, durable } => guest.write(&bench, first, count, durable),
            Step::Flush => guest.flush(&bench),
            Step::Done(nth) => end(nth, Answer::Do),
            Step::Short(nth, sectors) => end(nth, Answer::Short(sectors * SECTOR as u32)),
            Step::Fails(nth) => end(nth, Answer::Fail(libc::EIO)),
        }
        bench.run();
        bench.port.settle();
        host.hear(&bench);
        guest.hear(&bench, cache);
        let pairs = host.stable.iter().zip(&guest.promised);
        if let Some(sector) = pairs.enumerate().find(|(_, (has, wants))| has < wants) {
            bench.stage.forget_answers();
            bench.stage.release_all();
            return Some(sector.0);
        }
    }
    bench.stage.forget_answers();
    bench.stage.release_all();
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_was_promised_is_lost_whenever_the_power_fails(
        writethrough in any::<bool>(),
        direct in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let cache = if writethrough { Cache::Writethrough } else { Cache::Writeback };
        prop_assert_eq!(lost(cache, direct, &steps), None);
    }
}

/// The same model finds what a disk with `unsafe` may lose, though it said that all was flushed.
#[test]
fn what_an_unsafe_disk_calls_flushed_may_be_lost() {
    let steps = [
        Step::Write { first: 3, count: 1, durable: false },
        Step::Done(0),
        Step::Flush,
        Step::Done(0),
    ];
    assert_eq!(lost(Cache::Unsafe, false, &steps), Some(3));
    assert_eq!(lost(Cache::Writeback, false, &steps), None);
}

/// A flush that failed was the last: what the host has forgotten is not promised by the next one.
#[test]
fn what_a_failed_flush_has_lost_is_promised_by_no_later_one() {
    let steps = [
        Step::Write { first: 0, count: 2, durable: false },
        Step::Done(0),
        Step::Flush,
        Step::Fails(0),
        Step::Flush,
        Step::Done(0),
        Step::Flush,
        Step::Done(0),
    ];
    assert_eq!(lost(Cache::Writeback, false, &steps), None);
}

//! The lock-free parts under all interleavings (up to three preemptions): nothing is lost. The
//! controls are the same parts with one mistake each, which the models must find.

// The parts as the crate builds them, but on loom's atomics.
#[path = "../src/doorbell.rs"]
#[allow(dead_code)]
mod doorbell;
#[path = "../src/irq_gate.rs"]
#[allow(dead_code)]
mod irq_gate;
#[path = "../src/word_ring.rs"]
#[allow(dead_code)]
mod word_ring;
mod sync {
    use loom::cell::UnsafeCell;
    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

    /// The words of `src/sync.rs`, whose turns loom watches.
    pub struct Cells(Vec<UnsafeCell<[u8; 8]>>);

    // SAFETY: loom fails a model whose threads do not keep the turns.
    unsafe impl Sync for Cells {}

    impl Cells {
        pub fn new(count: usize) -> Cells {
            Cells((0..count).map(|_| UnsafeCell::new([0; 8])).collect())
        }

        pub fn len(&self) -> usize {
            self.0.len()
        }

        pub unsafe fn write<R>(
            &self,
            at: usize,
            count: usize,
            with: impl FnOnce(&mut [[u8; 8]]) -> R,
        ) -> R {
            let mut words = vec![[0; 8]; count];
            let done = with(&mut words);
            for (cell, word) in self.0[at..][..count].iter().zip(words) {
                // SAFETY: as above.
                cell.with_mut(|place| unsafe { *place = word });
            }
            done
        }

        pub unsafe fn read<R>(
            &self,
            at: usize,
            count: usize,
            with: impl FnOnce(&[[u8; 8]]) -> R,
        ) -> R {
            let cells = self.0[at..][..count].iter();
            // SAFETY: as above.
            let words: Vec<_> = cells.map(|cell| cell.with(|place| unsafe { *place })).collect();
            with(&words)
        }
    }
}

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use loom::thread;

use doorbell::{Doorbell, Wake};
use irq_gate::{Fire, IrqGate};

/// Shared for the rest of a run. Never dropped: unwinding out of a deadlock may not touch loom's
/// types again.
fn shared<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

/// An eventfd: waking before waiting counts.
struct Event(Notify);

impl Event {
    fn new() -> Event {
        Event(Notify::new())
    }
}

impl Wake for Event {
    fn wake(&self) {
        self.0.notify();
    }
}

impl Fire for Event {
    fn fire(&self) {
        self.0.notify();
    }
}

/// What the worker's loop needs of a doorbell.
trait Bell: Send + Sync + 'static {
    fn new() -> Self;
    fn ring(&self, tail: u32);
    fn tail(&self) -> u32;
    fn may_sleep(&self, seen: u32) -> bool;
    fn wait(&self);
}

impl Bell for Doorbell<Event> {
    fn new() -> Self {
        Doorbell::new(Event::new())
    }
    fn ring(&self, tail: u32) {
        Doorbell::ring(self, tail);
    }
    fn tail(&self) -> u32 {
        Doorbell::tail(self)
    }
    fn may_sleep(&self, seen: u32) -> bool {
        Doorbell::may_sleep(self, seen)
    }
    fn wait(&self) {
        self.waker().0.wait();
    }
}

/// The guest rings 1, then 2; the worker goes on until it has seen 2, and sleeps when it may. A lost
/// ring leaves it asleep for ever, which loom calls a deadlock.
fn a_ring_reaches_the_worker<B: Bell>() {
    model(|| {
        let bell = shared(B::new());
        let guest = thread::spawn(|| {
            bell.ring(1);
            bell.ring(2);
        });
        let mut seen = 0;
        while seen != 2 {
            let tail = bell.tail();
            if tail != seen {
                seen = tail;
            } else if bell.may_sleep(seen) {
                bell.wait();
            }
        }
        guest.join().unwrap();
    });
}

#[test]
fn a_ring_is_never_lost() {
    a_ring_reaches_the_worker::<Doorbell<Event>>();
}

/// The worker would have slept, and looks by itself for once instead; then it asks anew, unless it is `careless`.
fn a_ring_reaches_a_worker_that_lingers(careless: bool) {
    model(move || {
        let bell: &Doorbell<Event> = shared(Bell::new());
        let guest = thread::spawn(|| {
            bell.ring(1);
            bell.ring(2);
        });
        let (mut seen, mut lingers) = (0, true);
        while seen != 2 {
            let tail = bell.tail();
            if tail != seen {
                seen = tail;
            } else if bell.may_sleep(seen) {
                if std::mem::take(&mut lingers) {
                    bell.stay_awake();
                    if !careless || bell.tail() != seen {
                        continue;
                    }
                }
                bell.wait();
            }
        }
        guest.join().unwrap();
    });
}

#[test]
fn a_ring_is_never_lost_while_the_worker_lingers() {
    a_ring_reaches_a_worker_that_lingers(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_worker_that_sleeps_unasked_loses_a_ring() {
    a_ring_reaches_a_worker_that_lingers(true);
}

/// A doorbell with one of two mistakes.
struct BadBell<const LOOKS_FIRST: bool> {
    tail: AtomicU32,
    asleep: AtomicBool,
    event: Event,
}

impl<const LOOKS_FIRST: bool> Bell for BadBell<LOOKS_FIRST> {
    fn new() -> Self {
        BadBell { tail: AtomicU32::new(0), asleep: AtomicBool::new(false), event: Event::new() }
    }
    fn ring(&self, tail: u32) {
        if LOOKS_FIRST {
            let asleep = self.asleep.swap(false, Ordering::AcqRel);
            self.tail.store(tail, Ordering::Release);
            if asleep {
                self.event.wake();
            }
        } else {
            self.tail.store(tail, Ordering::Release);
            if self.asleep.swap(false, Ordering::AcqRel) {
                self.event.wake();
            }
        }
    }
    fn tail(&self) -> u32 {
        self.tail.load(Ordering::Acquire)
    }
    fn may_sleep(&self, seen: u32) -> bool {
        if LOOKS_FIRST {
            self.asleep.swap(true, Ordering::AcqRel);
        } else {
            self.asleep.store(true, Ordering::Release);
        }
        if self.tail() == seen {
            return true;
        }
        self.asleep.swap(false, Ordering::AcqRel);
        false
    }
    fn wait(&self) {
        self.event.0.wait();
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_plain_store_before_sleep_loses_a_ring() {
    a_ring_reaches_the_worker::<BadBell<false>>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_looking_for_sleepers_before_the_store_loses_a_ring() {
    a_ring_reaches_the_worker::<BadBell<true>>();
}

/// What a worker and a driver need of a vector.
trait Gate: Send + Sync + 'static {
    fn new() -> Self;
    fn raise(&self);
    fn unmask(&self);
    fn wait(&self);
}

struct Good {
    gate: IrqGate<&'static Event>,
    event: &'static Event,
}

impl Fire for &'static Event {
    fn fire(&self) {
        (**self).fire();
    }
}

impl Gate for Good {
    fn new() -> Self {
        let event = shared(Event::new());
        Good { gate: IrqGate::new(event), event }
    }
    fn raise(&self) {
        self.gate.raise();
    }
    fn unmask(&self) {
        self.gate.unmask();
    }
    fn wait(&self) {
        self.event.0.wait();
    }
}

/// A gate that forgets what was raised while it was masked.
struct Forgetful {
    armed: AtomicU8,
    event: Event,
}

impl Gate for Forgetful {
    fn new() -> Self {
        Forgetful { armed: AtomicU8::new(0), event: Event::new() }
    }
    fn raise(&self) {
        if self.armed.swap(0, Ordering::AcqRel) == 1 {
            self.event.fire();
        }
    }
    fn unmask(&self) {
        self.armed.swap(1, Ordering::AcqRel);
    }
    fn wait(&self) {
        self.event.0.wait();
    }
}

/// Each of `workers` completes `each` times and raises after each. The driver unmasks, waits, takes
/// what is there and does not look again, as drivers do; a completion left behind leaves it waiting
/// for ever.
fn completions_reach_the_driver<G: Gate>(workers: usize, each: u32) {
    model(move || {
        let (gate, done) = (shared(G::new()), shared(AtomicU32::new(0)));
        let work = move || {
            for _ in 0..each {
                done.fetch_add(1, Ordering::Release);
                gate.raise();
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| thread::spawn(work)).collect();
        while done.load(Ordering::Acquire) < workers as u32 * each {
            gate.unmask();
            gate.wait();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_completion_is_never_left_behind() {
    completions_reach_the_driver::<Good>(1, 2);
}

#[test]
fn two_workers_share_a_vector() {
    completions_reach_the_driver::<Good>(2, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_gate_that_forgets_leaves_a_completion_behind() {
    completions_reach_the_driver::<Forgetful>(1, 2);
}

#[test]
fn records_of_a_full_ring_are_read_whole_and_in_order() {
    model(|| {
        // Room for one record, so that each is written where the last one was read.
        let (mut sink, mut source) = word_ring::word_ring(4);
        let writer = thread::spawn(move || {
            (1..=3).map(|n| sink.push(&[n, !n], &[n as u8])).filter(|pushed| *pushed).count()
        });
        let (mut record, mut read) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            if source.pop(&mut record) {
                assert_eq!(record, [record[0], !record[0], record[0]]);
                read.push(record[0]);
            }
        }
        let pushed = writer.join().unwrap();
        while source.pop(&mut record) {
            assert_eq!(record, [record[0], !record[0], record[0]]);
            read.push(record[0]);
        }
        assert!(read.is_sorted(), "{read:?}");
        assert_eq!(read.len(), pushed);
    });
}

#[test]
#[should_panic(expected = "half a record")]
fn control_a_ring_that_shows_before_it_writes_is_read_half() {
    model(|| {
        let (word, tail) = (shared(AtomicU64::new(0)), shared(AtomicU64::new(0)));
        let writer = thread::spawn(move || {
            tail.store(1, Ordering::Release);
            word.store(7, Ordering::Relaxed);
        });
        if tail.load(Ordering::Acquire) == 1 {
            assert_eq!(word.load(Ordering::Relaxed), 7, "half a record");
        }
        writer.join().unwrap();
    });
}

//! Tests of what the kernel is told of a pair of rings, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use device_core::GuestRam;
use device_core::interrupt::Interrupt;
use device_core::testing::{TestMsiSet, ram};

use super::*;
use crate::backend::vhost::fake::{Asked, Fake};
use crate::lent::Place;

const FEATURES: u64 = 1 << 32 | 1 << 15;

fn place(at: u64) -> Place {
    Place { entries: 64, descriptors: at, available: at + 0x1000, used: at + 0x2000 }
}

fn ring(memory: &GuestRam, at: u64, next: u16) -> Ring {
    let kick = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap());
    let call = TestMsiSet::new(1).test_vector(0);
    Ring::new(memory, place(at), next, kick, Some(call)).unwrap()
}

/// A queue, what plays its kernel, and how often its rings were told broken.
struct Bench {
    queue: Queue<Fake>,
    fake: Fake,
    memory: GuestRam,
    broken: Arc<AtomicU32>,
}

impl Bench {
    fn new() -> Bench {
        let fake = Fake::default();
        let (socket, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let tap = tap::Queue::new(std::os::fd::OwnedFd::from(socket).into(), false);
        let queue = Queue::new(tap, fake.clone()).unwrap();
        Bench { queue, fake, memory: ram(1 << 20), broken: Arc::default() }
    }

    fn rings(&self) -> Rings {
        let broken = self.broken.clone();
        Rings {
            features: FEATURES,
            memory: self.memory.clone(),
            rx: Some(ring(&self.memory, 0, 7)),
            tx: Some(ring(&self.memory, 0x4000, 65_535)),
            broken: Box::new(move || {
                broken.fetch_add(1, Ordering::SeqCst);
            }),
        }
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.fake.played().asked)
    }
}

#[test]
fn all_is_told_before_frames_pass_and_they_stop_before_anything_is_taken() {
    let mut bench = Bench::new();
    bench.queue.take(bench.rings(), true).unwrap();
    let told = |number, next| {
        use Asked::*;
        [Ring(number, 64, next), Error(number, true), Call(number, true), Kick(number, true)]
    };
    let mut expected = vec![Asked::Features(FEATURES), Asked::Memory(1)];
    expected.extend(told(RX, 7));
    expected.extend(told(TX, 65_535));
    expected.extend([Asked::Backend(RX, true), Asked::Backend(TX, true)]);
    assert_eq!(bench.asked(), expected);

    bench.fake.played().taken = [9, 2];
    let standing = bench.queue.give_back();
    assert_eq!(standing, Some(Standing { rx: Some(9), tx: Some(2) }));
    let asked = bench.asked();
    assert_eq!(asked[..2], [Asked::Backend(RX, false), Asked::Backend(TX, false)]);
    for number in [RX, TX] {
        for taken in [Asked::Kick(number, false), Asked::Call(number, false), Asked::Next(number)] {
            assert!(asked.contains(&taken), "{taken:?} in {asked:?}");
        }
    }
    assert_eq!(bench.queue.give_back(), None, "once");
}

#[test]
fn rings_are_lent_once() {
    let mut bench = Bench::new();
    bench.queue.take(bench.rings(), true).unwrap();
    assert!(bench.queue.take(bench.rings(), true).is_err());
    assert!(bench.queue.give_back().is_some(), "the first ones are still there");
}

#[test]
fn a_queue_that_is_off_gets_no_frames_until_it_is_on() {
    let mut bench = Bench::new();
    bench.queue.enable(false).unwrap();
    bench.queue.take(bench.rings(), true).unwrap();
    assert!(!bench.asked().iter().any(|asked| matches!(asked, Asked::Backend(..))));
    bench.queue.enable(true).unwrap();
    assert_eq!(bench.asked(), [Asked::Backend(RX, true), Asked::Backend(TX, true)]);
    bench.queue.enable(false).unwrap();
    assert_eq!(bench.asked(), [Asked::Backend(RX, false), Asked::Backend(TX, false)]);
}

#[test]
fn without_a_cable_nothing_passes() {
    let mut bench = Bench::new();
    bench.queue.take(bench.rings(), false).unwrap();
    assert!(!bench.asked().iter().any(|asked| matches!(asked, Asked::Backend(_, true))));
}

#[test]
fn what_the_kernel_refuses_is_not_lent_at_all() {
    let mut bench = Bench::new();
    bench.fake.played().refuses = Some(libc::EFAULT);
    let refused = bench.queue.take(bench.rings(), true).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EFAULT));
    let asked = bench.asked();
    assert!(asked.contains(&Asked::Backend(TX, false)) && asked.contains(&Asked::Kick(RX, false)));
    bench.queue.take(bench.rings(), true).unwrap();
}

#[test]
fn a_broken_ring_is_taken_away_and_told_of_once() {
    let mut bench = Bench::new();
    bench.queue.take(bench.rings(), true).unwrap();
    assert!(!bench.queue.is_broken());
    bench.asked();
    let error = bench.fake.played().errors[TX as usize].take().unwrap();
    signal(&error);
    assert!(bench.queue.is_broken());
    assert_eq!(bench.asked(), [Asked::Backend(RX, false), Asked::Backend(TX, false)]);
    assert!(!bench.queue.is_broken());
    assert_eq!(bench.broken.load(Ordering::SeqCst), 1);
    bench.queue.enable(true).unwrap();
    assert_eq!(bench.asked(), [], "it stays away");
}

fn signal(event: &std::os::fd::OwnedFd) {
    use std::io::Write;
    let mut file = std::fs::File::from(event.try_clone().unwrap());
    file.write_all(&1u64.to_ne_bytes()).unwrap();
}

#[test]
fn a_ring_with_a_part_in_two_regions_is_not_lent() {
    let memory = device_core::testing::ram_at(&[(0, 0x2000), (0x2000, 0x4000)]);
    let event = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let new = |place| Ring::new(&memory, place, 0, event.clone(), None);
    struct Line;
    impl Interrupt for Line {
        fn fire(&self) {}
    }
    let line = Ring::new(&memory, place(0), 0, event.clone(), Some(Arc::new(Line)));
    assert!(line.is_none(), "there is more to a line than an eventfd");
    assert!(new(place(0)).is_some());
    assert!(new(Place { descriptors: 0x1fe0, ..place(0) }).is_none());
    assert!(new(Place { used: 0x5f00, ..place(0) }).is_none(), "past the end");
}

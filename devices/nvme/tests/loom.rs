//! Doorbells in memory under all interleavings (up to three preemptions): whoever sleeps is woken. The controls are
//! the same with one mistake each, which the models must find.

// As the crate builds it, but on loom's atomics.
#[path = "../src/shadow.rs"]
#[allow(dead_code)]
mod shadow;
mod sync {
    use loom::sync::atomic::AtomicU32;
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

    /// Memory of two words that both sides have for the rest of a run.
    #[derive(Clone, Copy)]
    pub struct Words(&'static [AtomicU32; 2]);

    impl Words {
        pub fn new() -> Words {
            Words(super::shared([AtomicU32::new(0), AtomicU32::new(0)]))
        }

        fn at(&self, at: u64) -> Option<&'static AtomicU32> {
            self.0.get(usize::try_from(at / 4).ok()?)
        }

        pub fn load(&self, at: u64) -> Option<u32> {
            self.at(at).map(|word| word.load(Ordering::Acquire))
        }

        pub fn store(&self, at: u64, word: u32) {
            self.at(at).unwrap().store(word, Ordering::Relaxed);
        }

        /// As a host stores an index: who sees it sees what was written before.
        pub fn store_released(&self, at: u64, word: u32) {
            self.at(at).unwrap().store(word, Ordering::Release);
        }
    }
}

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

use shadow::Shadow;
use sync::Words;

/// Where the two words are.
const INDEX: u64 = 0;
const EVENT: u64 = 4;

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

/// What one side does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The host looks whether to write the register before its index is out.
    HostLooksFirst,
    /// The controller sleeps without another look.
    SleepsUnseeing,
    /// The controller looks again before its wish is out.
    LooksFirst,
}

struct Bell {
    words: Words,
    shadow: Shadow,
    register: Notify,
    /// Who waits for room in a completion queue.
    starving: AtomicBool,
}

impl Bell {
    fn new() -> &'static Bell {
        let words = Words::new();
        let shadow = Shadow::new(words);
        shadow.place(INDEX, EVENT, 0);
        let starving = AtomicBool::new(false);
        shared(Bell { words, shadow, register: Notify::new(), starving })
    }

    /// The host goes on by one to `new`; whether it is to write the register, by the rule of Linux's driver.
    fn store(&self, new: u16, mistake: Mistake) -> bool {
        let is_wanted = || {
            let event = self.words.load(EVENT).unwrap() as u16;
            new.wrapping_sub(event).wrapping_sub(1) < 1
        };
        let early = (mistake == Mistake::HostLooksFirst).then(is_wanted);
        self.words.store_released(INDEX, new.into());
        fence(Ordering::SeqCst);
        early.unwrap_or_else(is_wanted)
    }

    /// Whether the controller, which is at `seen`, may sleep: as `SqBell::may_sleep` finds out.
    fn may_sleep(&self, seen: u16, mistake: Mistake) -> bool {
        let is_all = || self.shadow.index() == Some(seen);
        let early = (mistake == Mistake::LooksFirst).then(is_all);
        self.shadow.want(seen);
        mistake == Mistake::SleepsUnseeing || early.unwrap_or_else(is_all)
    }
}

/// The host tells of two commands, one after the other; the controller goes on until it has seen both, and sleeps
/// when it may. A command left behind leaves it asleep for ever, which loom calls a deadlock.
fn commands_reach_the_controller(mistake: Mistake) {
    model(move || {
        let bell = Bell::new();
        let host = thread::spawn(move || {
            for tail in 1..=2 {
                if bell.store(tail, mistake) {
                    bell.register.notify();
                }
            }
        });
        let mut seen = 0;
        while seen != 2 {
            let tail = bell.shadow.index().unwrap();
            if tail != seen {
                seen = tail;
                // It looks by itself for a while.
                bell.shadow.rest(seen);
            } else if bell.may_sleep(seen, mistake) {
                bell.register.wait();
            }
        }
        host.join().unwrap();
    });
}

#[test]
fn no_command_is_left_behind() {
    commands_reach_the_controller(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_host_that_looks_before_it_stores_leaves_a_command_behind() {
    commands_reach_the_controller(Mistake::HostLooksFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_controller_that_sleeps_without_a_look_leaves_a_command_behind() {
    commands_reach_the_controller(Mistake::SleepsUnseeing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_a_controller_that_looks_before_it_asks_leaves_a_command_behind() {
    commands_reach_the_controller(Mistake::LooksFirst);
}

/// A completion queue is full. The host takes two completions; the controller waits for room, and goes on when there
/// is some, as `CompletionQueue::may_wait` and `write_head` do it; or it says that it waits only once it has looked,
/// if it is `late`.
fn room_is_told(late: bool) {
    model(move || {
        let bell = Bell::new();
        let host = thread::spawn(move || {
            for head in 1..=2 {
                if bell.store(head, Mistake::None) && bell.starving.swap(false, Ordering::AcqRel) {
                    bell.register.notify();
                }
            }
        });
        let mut seen = 0;
        while seen != 2 {
            if !late {
                bell.starving.swap(true, Ordering::AcqRel);
            }
            bell.shadow.want(seen);
            let head = bell.shadow.index().unwrap();
            if late {
                bell.starving.swap(true, Ordering::AcqRel);
            }
            if head == seen {
                bell.register.wait();
            }
            seen = head;
        }
        host.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_is_told_of_it() {
    room_is_told(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn control_who_says_too_late_that_it_waits_is_not_told() {
    room_is_told(true);
}

//! A controller that goes on in another process: its host sees no difference, and no wrong state harms.

use block::control::DiskControl;
use block::spec::Fault;
use device_core::device::Device;
use device_core::snapshot::Saved;
use device_core::testing::mutants;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::lanes::Lanes;
use crate::testing::bench::{Bench, DISK, spec};
use crate::testing::driver::{
    Answer, Driver, ENABLE, FATAL, Pair, READY, SHUT_DOWN, SHUTDOWN, SHUTTING_DOWN, blocks,
    command, cq_doorbell, reg, set_command, sq_doorbell,
};
use crate::testing::hostile;

const QUEUES: u16 = 2;
/// Entries of a queue; few, so that they are gone round.
const SIZE: u16 = 5;

/// What a driver does.
#[derive(Clone, Debug)]
enum Step {
    /// Puts a read or a write of these blocks into a queue, rung or not.
    Move {
        queue: usize,
        write: bool,
        first: u16,
        count: u16,
        rung: bool,
    },
    /// A command that there is not.
    Nonsense(usize),
    Flush(usize),
    /// The disk keeps requests, or does no more.
    Hold(bool),
    Throttle(bool),
    /// Completions stay where they are, or are taken.
    Leave(bool),
    Features(u32, u32),
    RequestEvent,
    Grow,
    Abort(usize),
    Log(u32),
    BadDoorbell(u16),
    MaskVector(u16, bool),
    BusMaster(bool),
    Anew(usize),
    WriteCache(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let queue = 0usize..2;
    prop_oneof![
        8 => (queue.clone(), any::<bool>(), 0u16..64, 1u16..9, prop::bool::weighted(0.7)).prop_map(
            |(queue, write, first, count, rung)| Step::Move { queue, write, first, count, rung }
        ),
        1 => queue.clone().prop_map(Step::Nonsense),
        1 => queue.clone().prop_map(Step::Flush),
        1 => any::<bool>().prop_map(Step::Throttle),
        2 => any::<bool>().prop_map(Step::Leave),
        1 => (1u32..12, any::<u32>()).prop_map(|(which, value)| Step::Features(which, value)),
        1 => Just(Step::RequestEvent),
        1 => Just(Step::Grow),
        1 => queue.clone().prop_map(Step::Abort),
        1 => prop::sample::select(&[1u32, 2, 3, 4, 5][..]).prop_map(Step::Log),
        1 => (0u16..5).prop_map(Step::BadDoorbell),
        1 => (0u16..3, any::<bool>()).prop_map(|(vector, masked)| Step::MaskVector(vector, masked)),
        1 => any::<bool>().prop_map(Step::BusMaster),
        1 => queue.prop_map(Step::Anew),
        1 => any::<bool>().prop_map(Step::WriteCache),
        1 => any::<bool>().prop_map(Step::Hold),
    ]
}

/// What a driver sees of a step.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    answers: Vec<Answer>,
    completions: Vec<Answer>,
    /// By vector; those that reached the guest, and the bits of those that wait.
    interrupts: Vec<u64>,
    pending: u64,
    status: u32,
    page: Vec<u8>,
    doorbells: Vec<u8>,
}

struct Side {
    driver: Driver,
    pairs: [Pair; 2],
    /// Entries of each queue whose commands have not completed.
    waiting: [u16; 2],
    leaves: bool,
    pages: Option<[u64; 2]>,
}

impl Side {
    fn new(shadow: bool) -> Side {
        let mut driver = Driver::ready(QUEUES);
        let pairs = [driver.create_pair(1, SIZE), driver.create_pair(2, SIZE)];
        let pages = shadow.then(|| driver.shadow_doorbells());
        Side { driver, pairs, waiting: [0; 2], leaves: false, pages }
    }

    /// Tells a tail, where tails are told.
    fn ring(&mut self, queue: usize) {
        let pair = self.pairs[queue];
        if let Some([indices, _]) = self.pages {
            let at = indices + u64::from(pair.sq) * 8;
            self.driver.bench.store_words(at, &[pair.tail.into()]);
        }
        self.driver.ring(&pair);
    }

    fn submit(&mut self, queue: usize, words: [u32; 16], rung: bool) {
        // One entry stays free.
        if self.waiting[queue] + 2 > SIZE {
            return;
        }
        self.waiting[queue] += 1;
        self.driver.enqueue(&mut self.pairs[queue], words);
        if rung {
            self.ring(queue);
        }
    }

    fn act(&mut self, step: &Step) {
        let page = self.driver.page;
        match *step {
            Step::Move { queue, write, first, count, rung } => {
                let opcode = if write { 1 } else { 2 };
                let words = blocks(opcode, [page, 0], first.into(), count.into(), 0);
                self.submit(queue, words, rung);
            }
            Step::Nonsense(queue) => self.submit(queue, command(0x55, 1, [0; 2]), true),
            Step::Flush(queue) => self.submit(queue, command(0, 1, [0; 2]), true),
            Step::Hold(on) => {
                self.driver.bench.disk.hold(on);
                if !on {
                    self.driver.bench.disk.release();
                }
            }
            Step::Throttle(on) => self.driver.bench.disk.throttle(on),
            Step::Leave(on) => self.leaves = on,
            Step::Features(which, value) => {
                // Those of the write cache have a step of their own.
                if which != 6 {
                    self.driver.submit(set_command(which, value));
                    let mut words = command(0x0a, 0, [0; 2]);
                    words[10] = which;
                    self.driver.submit(words);
                }
            }
            Step::RequestEvent => drop(self.driver.request_event()),
            Step::Grow => {
                let disk = &self.driver.bench.disk;
                disk.resize(disk.size() + 512);
                self.driver.bench.card.refresh().unwrap();
            }
            Step::Abort(queue) => {
                let Pair { sq, tail, size, commands, .. } = self.pairs[queue];
                let last = u64::from((tail + size - 1) % size);
                let [first] = self.driver.bench.load_words(commands + last * 64);
                self.driver.submit_abort(sq, (first >> 16) as u16);
            }
            Step::Log(which) => {
                let mut words = command(2, u32::MAX, [page, 0]);
                words[10] = which | 127 << 16;
                self.driver.submit(words);
            }
            Step::BadDoorbell(queue) => {
                if self.pages.is_none() {
                    self.driver.bench.write(sq_doorbell(queue), 0x7777);
                    self.driver.bench.write(cq_doorbell(queue), 0x7777);
                }
            }
            Step::MaskVector(vector, masked) => self.driver.bench.mask_vector(vector, masked),
            Step::BusMaster(on) => {
                self.let_go();
                self.driver.bench.set_bus_master(on);
            }
            Step::Anew(queue) => {
                self.let_go();
                self.driver.bench.set_bus_master(true);
                self.look();
                let Pair { sq, cq, .. } = self.pairs[queue];
                self.driver.delete_sq(sq);
                self.driver.bench.settle();
                while self.driver.take_answer().is_some() {}
                self.driver.delete_cq(cq).ok();
                self.pairs[queue] = self.driver.create_pair(sq, SIZE);
                self.waiting[queue] = 0;
                if let Some([indices, events]) = self.pages {
                    for page in [indices, events] {
                        self.driver.bench.store_words(page + u64::from(sq) * 8, &[0, 0]);
                    }
                }
            }
            Step::WriteCache(on) => drop(self.driver.submit(set_command(6, on.into()))),
        }
    }

    /// Nobody waits for what this thread holds.
    fn let_go(&mut self) {
        self.driver.bench.disk.hold(false);
        self.driver.bench.disk.release();
    }

    fn look(&mut self) -> Seen {
        let bench = &mut self.driver.bench;
        bench.settle();
        let mut seen = Seen {
            interrupts: self.interrupts(),
            pending: self.driver.bench.pending(),
            status: self.driver.status(),
            page: self.driver.bench.load(self.driver.page, 512),
            ..Seen::default()
        };
        for page in self.pages.into_iter().flatten() {
            seen.doorbells.extend(self.driver.bench.load(page, 64));
        }
        seen.answers.extend(std::iter::from_fn(|| self.driver.take_answer()));
        for (queue, pair) in self.pairs.iter_mut().enumerate() {
            while !self.leaves
                && let Some(answer) = self.driver.look(pair)
            {
                self.waiting[queue] -= 1;
                seen.completions.push(answer);
            }
            if let Some([indices, _]) = self.pages {
                let at = indices + u64::from(pair.cq) * 8 + 4;
                self.driver.bench.store_words(at, &[pair.head.into()]);
            }
            self.driver.acknowledge(pair);
        }
        seen
    }

    fn interrupts(&self) -> Vec<u64> {
        self.driver.bench.all_interrupts()
    }

    fn step(&mut self, step: &Step) -> Seen {
        let before = self.interrupts();
        self.act(step);
        let mut seen = self.look();
        since(&mut seen.interrupts, &before);
        seen
    }

    /// The machine stops, and goes on.
    fn pause(&mut self) -> Seen {
        self.let_go();
        let before = self.interrupts();
        self.driver.bench.card.stop();
        self.driver.bench.card.start();
        let mut seen = self.look();
        since(&mut seen.interrupts, &before);
        seen
    }

    /// The machine stops, and another goes on.
    fn replace(&mut self) -> Seen {
        self.let_go();
        let before = self.interrupts();
        self.driver.bench.card.stop();
        let mut stopped = self.interrupts();
        since(&mut stopped, &before);
        self.driver.bench.replace();
        let mut seen = self.look();
        for (count, stopped) in seen.interrupts.iter_mut().zip(stopped) {
            *count += stopped;
        }
        seen
    }
}

fn since(counts: &mut [u64], before: &[u64]) {
    counts.iter_mut().zip(before).for_each(|(count, before)| *count -= before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_a_driver_does_has_the_same_effect_in_another_process(
        shadow in any::<bool>(),
        steps in prop::collection::vec((step(), prop::bool::weighted(0.15)), 1..60),
    ) {
        let (mut paused, mut replaced) = (Side::new(shadow), Side::new(shadow));
        for (step, rests) in steps {
            prop_assert_eq!(replaced.step(&step), paused.step(&step), "{:?}", step);
            if rests {
                prop_assert_eq!(replaced.replace(), paused.pause());
            }
        }
        prop_assert_eq!(paused.driver.status() & (READY | FATAL), READY);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_changed_state_harms_more_than_a_guest(
        steps in prop::collection::vec(any::<u8>(), 0..800),
        changes in prop::collection::vec(any::<u8>(), 11..44),
    ) {
        let len = steps.len() / 8;
        hostile::states(&[&[len as u8], &steps[..len * 8], &changes].concat());
    }
}

/// A controller with everything in use, which rests.
fn busy() -> Side {
    let mut side = Side::new(true);
    let moved = |write, first| Step::Move { queue: 0, write, first, count: 8, rung: true };
    for step in [
        moved(true, 0),
        moved(false, 8),
        Step::Nonsense(1),
        Step::RequestEvent,
        Step::RequestEvent,
        Step::Features(11, 0x100),
        Step::Leave(true),
        moved(true, 3),
        moved(true, 4),
        Step::Grow,
        Step::Throttle(true),
        moved(true, 9),
        Step::Abort(0),
    ] {
        side.step(&step);
    }
    side.driver.bench.card.stop();
    side
}

/// What a fresh controller in the place of `bench` says to a state.
fn refusal(bench: &Bench, state: Value) -> String {
    let saved = Saved { kind: "nvme".to_string(), version: 1, state };
    bench.fresh().card.load(&saved).map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn no_state_that_is_wrong_in_one_place_harms() {
    let side = busy();
    let saved = side.driver.bench.card.save().unwrap();
    let (mut loaded, mut refused) = (0, 0);
    for mutant in mutants(&saved.state) {
        let next = side.driver.bench.fresh();
        let saved = Saved { state: mutant, ..saved.clone() };
        if next.card.load(&saved).is_err() {
            refused += 1;
            continue;
        }
        loaded += 1;
        next.card.start();
        next.settle();
        // Its rings leave the disk, which the next one has.
        next.card.stop();
    }
    assert!(loaded > 200 && refused > 500, "{loaded} loaded, {refused} refused");
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    let side = busy();
    let state = side.driver.bench.card.save().unwrap().state;
    assert_eq!(refusal(&side.driver.bench, state.clone()), "");
    for (place, value, name) in [
        ("/queues/submission/0/size", json!(0), "queues.submission"),
        ("/queues/submission/0/size", json!(1), "queues.submission"),
        ("/queues/submission/0/size", json!(1025), "queues.submission"),
        ("/queues/submission/0/size", json!(4), "queues.tail"),
        ("/queues/submission/0/base", json!(0x1008), "queues.submission"),
        ("/queues/submission/0/base", json!(0xc000_0000u64), "queues.submission"),
        ("/queues/submission/0/cq", json!(0), "queues.submission"),
        ("/queues/submission/0/cq", json!(3), "queues.submission"),
        ("/queues/submission/0/ring", Value::Null, "queues.submission"),
        ("/queues/submission/0/ring/head", json!(5), "queues.tail"),
        ("/queues/submission/0/ring/doorbell", json!(5), "queues.doorbell"),
        ("/queues/submission/0/ring/withdrawn", json!([5]), "queues.withdrawn"),
        ("/queues/submission/1/ring/stuck", json!(true), "queues.stuck"),
        ("/queues/submission", json!([]), "queues.submission"),
        ("/queues/completion/0", Value::Null, "queues.submission"),
        ("/queues/completion/0/base", json!(u64::MAX), "queues.completion"),
        ("/queues/completion/0/vector", json!(3), "queues.completion"),
        ("/queues/completion/0/tail", json!(5), "completion_queues.tail"),
        ("/queues/completion/1/told", json!(4), "completion_queues.told"),
        ("/queues/doorbell_pages/1", json!(0x123), "queues.doorbell_pages"),
        ("/admin/head", json!(32), "admin.tail"),
        ("/admin", Value::Null, "admin"),
        ("/admin_completion/base", json!(0), "admin_completion"),
        ("/admin_completion/vector", json!(1), "admin_completion"),
        ("/registers/admin_sq", json!(1), "registers"),
        ("/registers/admin_sizes", json!(0), "registers"),
        ("/registers/configuration", json!(0), "registers.configuration"),
        ("/registers/shutdown", json!("going"), "flush"),
        ("/registers/bad_doorbells", json!(4), "registers.bad_doorbells"),
        ("/flush", json!("shutdown"), "flush"),
        ("/events/requests", json!([1, 2, 3, 4, 5]), "events.requests"),
        ("/events/error", json!(2), "events.error"),
        ("/settings/uncoalesced", json!([]), "settings"),
        ("/errors/entries/0/error/status", json!(0x8000), "errors.entries"),
        ("/controller/model", json!("nvme-instance"), "controller.model"),
        ("/controller/serial", json!("vol1"), "controller.serial"),
        ("/controller/queues", json!(3), "controller.queues"),
        ("/controller/capacity", json!(DISK), "controller.capacity"),
        ("/controller/read_only", json!(true), "controller.read_only"),
        ("/controller/cache", json!(false), "controller.cache"),
    ] {
        let mut changed = state.clone();
        *changed.pointer_mut(place).expect(place) = value;
        let refusal = refusal(&side.driver.bench, changed);
        let wanted = format!("{name} of the nvme cannot be: ");
        assert!(refusal.starts_with(&wanted), "{place}: {refusal:?}, not {wanted:?}");
    }
}

#[test]
fn a_controller_at_work_has_no_state() {
    let driver = Driver::ready(1);
    let error = driver.bench.card.save().unwrap_err().to_string();
    assert_eq!(error, "disk data is at work");
}

#[test]
fn a_tail_in_memory_that_nobody_was_told_of_is_seen() {
    let mut side = Side::new(true);
    let page = side.driver.page;
    side.driver.enqueue(&mut side.pairs[0], blocks(1, [page, 0], 0, 1, 0));
    side.waiting[0] = 1;
    let [indices, _] = side.pages.unwrap();
    side.driver.bench.store_words(indices + 8, &[1]);
    side.driver.bench.replace();
    let seen = side.look();
    assert_eq!((seen.completions.len(), seen.interrupts[1]), (1, 1));
}

#[test]
fn a_masked_vector_stays_pending_and_delivers_once() {
    let mut side = Side::new(false);
    side.step(&Step::MaskVector(1, true));
    assert_eq!(side.step(&Step::Flush(0)).pending, 1 << 1);
    let seen = side.replace();
    assert_eq!((seen.pending, seen.interrupts[1]), (1 << 1, 0));
    let seen = side.step(&Step::MaskVector(1, false));
    assert_eq!((seen.pending, seen.interrupts[1]), (0, 1));
}

#[test]
fn a_shutdown_under_way_ends_and_the_controller_comes_back() {
    let mut side = Side::new(false);
    side.driver.bench.disk.throttle(true);
    side.driver.bench.write(reg::CC, SHUTDOWN);
    side.driver.bench.settle();
    assert_eq!(side.driver.status(), READY | SHUTTING_DOWN);
    side.driver.bench.replace();
    side.driver.bench.settle();
    assert_eq!(side.driver.status(), READY | SHUTTING_DOWN);
    side.driver.bench.disk.throttle(false);
    side.driver.bench.settle();
    assert_eq!(side.driver.status(), READY | SHUT_DOWN);
    side.driver.bench.replace();
    assert_eq!(side.driver.status(), READY | SHUT_DOWN);
    side.driver.enable();
    assert_eq!(side.driver.bench.read(reg::CC), ENABLE);
}

#[test]
fn a_switch_of_the_write_cache_is_answered_and_holds() {
    let mut side = Side::new(false);
    side.driver.bench.disk.throttle(true);
    let id = side.driver.submit(set_command(6, 0));
    side.driver.bench.settle();
    assert_eq!(side.driver.take_answer(), None);
    side.driver.bench.replace();
    side.driver.bench.disk.throttle(false);
    side.driver.bench.settle();
    assert_eq!(side.driver.take_answer().map(|answer| answer.ok().id), Some(id));
    side.driver.bench.replace();
    assert_eq!(side.driver.get(6, 0).ok().result, 0);
    side.driver.bench.disk.take_asked();
    side.step(&Step::Move { queue: 0, write: true, first: 0, count: 1, rung: true });
    assert!(side.driver.bench.disk.take_asked()[0].durable);
}

#[test]
fn statistics_and_errors_go_on() {
    let mut side = Side::new(false);
    for _ in 0..3 {
        side.step(&Step::Move { queue: 0, write: true, first: 0, count: 2, rung: true });
        side.step(&Step::Nonsense(1));
        side.replace();
    }
    side.driver.bench.disk.set_throttled_us(5, 7);
    side.replace();
    side.driver.bench.disk.set_throttled_us(6, 9);
    let health = side.driver.logged(2, 512);
    assert_eq!((health[80], health[176]), (3, 3));
    let page = side.driver.logged(0xd0, 4096);
    let double = |at: usize| u64::from_le_bytes(*page[at..].first_chunk().unwrap());
    assert_eq!((double(16), double(32)), (3, 3 * 1024));
    assert_eq!((double(64), double(56)), (6, 9));
    let errors = side.driver.logged(1, 192);
    assert_eq!((errors[0], errors[64], errors[128]), (3, 2, 1));
    assert!(side.driver.bench.card.inspect().running);
}

#[test]
fn a_controller_that_answers_no_more_does_so_in_another_process() {
    let mut bench = Bench::of(&spec(), QUEUES);
    bench.restore();
    bench.card.inject(Fault::Vanish).unwrap();
    bench.replace();
    assert_eq!(bench.read(reg::CSTS), u32::MAX);
    bench.card.clear_faults();
    assert_eq!(bench.read(reg::CSTS), 0);
}

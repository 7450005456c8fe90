//! A card that goes on in another process: its driver sees no difference, and no wrong state harms.

use std::time::{Duration, Instant};

use device_core::device::Device;
use device_core::ram_window::RamWindow;
use device_core::snapshot::Saved;
use device_core::testing::mutants;
use net::control::NicControl;
use net::mac::MacAddr;
use net::spec::NicSpec;
use proptest::prelude::*;
use serde_json::{Value, json};
use vm_memory::{Bytes, GuestAddress};

use crate::abi::group;
use crate::registers::{QUIET_STRIDE, RX_DOORBELL, UNMASK};
use crate::testing::bench::{ABLE, Bench, spec};
use crate::testing::driver::{Answer, Driver, Event, FATAL, Queue, transmit};
use crate::testing::hostile;

const PAIRS: u16 = 2;
/// Windows of a card of two pairs, in the order in which it takes them: low-latency queues, the two
/// pages of transmit doorbells, registers without traps.
const PAGE: usize = 1;
const QUIET: usize = 3;
const FRAME: [u8; 60] = [0x2a; 60];

/// What a driver does.
#[derive(Clone, Debug)]
enum Step {
    /// Sends a frame of so many bytes.
    Send(u16),
    /// Sends by the low-latency queue: the header pushed, the rest in a buffer.
    Push(u16),
    /// The first of two entries of a packet, rung or not.
    PushFirst(bool),
    /// Posts a buffer of so many bytes, rung or not.
    Post(u16, bool),
    /// The same, with the doorbell written to memory.
    PostQuietly(u16),
    /// A frame of so many bytes comes, to a lane.
    Bring(u16, usize),
    /// The cable has no room for frames, or has again.
    Block(bool),
    Unmask(usize),
    /// Written to memory.
    UnmaskQuietly(u16),
    MaskVector(u16, bool),
    BusMaster(bool),
    Stats,
    Mtu(u16),
    Key(u8),
    Table(u16),
    /// Frees the events taken so far.
    FreeEvents,
    Link(bool),
    MaskManagement(bool),
    /// Destroys a queue and makes it anew, as deep as that power of two.
    Anew(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (60u16..3000).prop_map(Step::Send),
        4 => (14u16..3000).prop_map(Step::Push),
        1 => any::<bool>().prop_map(Step::PushFirst),
        6 => (1u16..3000, any::<bool>()).prop_map(|(len, rung)| Step::Post(len, rung)),
        2 => (1u16..3000).prop_map(Step::PostQuietly),
        6 => (14u16..4000, 0usize..2).prop_map(|(len, lane)| Step::Bring(len, lane)),
        1 => any::<bool>().prop_map(Step::Block),
        4 => (0usize..3).prop_map(Step::Unmask),
        2 => (0u16..PAIRS).prop_map(Step::UnmaskQuietly),
        2 => (0u16..3, any::<bool>()).prop_map(|(vector, masked)| Step::MaskVector(vector, masked)),
        1 => any::<bool>().prop_map(Step::BusMaster),
        1 => Just(Step::Stats),
        1 => (128u16..9216).prop_map(Step::Mtu),
        1 => any::<u8>().prop_map(Step::Key),
        1 => (0u16..PAIRS).prop_map(Step::Table),
        1 => Just(Step::FreeEvents),
        1 => any::<bool>().prop_map(Step::Link),
        1 => any::<bool>().prop_map(Step::MaskManagement),
        1 => (0usize..3, 1u8..9).prop_map(|(queue, log)| Step::Anew(queue, log)),
    ]
}

/// What a driver sees of a step.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    answers: Vec<Answer>,
    completions: Vec<(usize, [u32; 4])>,
    events: Vec<Event>,
    frames: Vec<Vec<u8>>,
    /// By vector; those that reached the guest, and the bits of those that wait.
    interrupts: Vec<u64>,
    pending: u64,
    status: Option<u32>,
}

struct Side {
    driver: Driver,
    /// To the wire by RAM, to it by the card's memory, and from it.
    queues: [Queue; 3],
    /// Up to where the card has done each.
    heads: [u16; 3],
    next: u16,
}

impl Side {
    fn new() -> Side {
        let mut driver = Driver::probed(PAIRS);
        // Keep-alives come by the clock.
        driver.set(26, &[0, group::OFFERED & !group::KEEP_ALIVE]).ok();
        let queues = [driver.create_tx(64, 1), driver.create_llq(64, 2), driver.create_rx(64, 1)];
        Side { driver, queues, heads: [0; 3], next: 0 }
    }

    fn id(&mut self) -> u16 {
        self.next = self.next.wrapping_add(1) % 64;
        self.next
    }

    /// Whether a driver would post so many entries more.
    fn has_room(&self, queue: usize, entries: u16) -> bool {
        let Queue { depth, posted, .. } = self.queues[queue];
        posted.wrapping_sub(self.heads[queue]) + entries <= depth
    }

    fn store(&self, window: usize, at: u64, value: u32) {
        let window = self.driver.bench.machine.windows.window(window);
        window.memory().write_obj(value, GuestAddress(at)).unwrap();
    }

    /// One entry of a low-latency queue, with two descriptors before the header.
    fn push(&mut self, descriptors: [[u32; 4]; 2], header: &[u8]) {
        let [_, queue, _] = &mut self.queues;
        let phase = u32::from(queue.posted & queue.depth == 0) << 24;
        let mut entry = [0; 128];
        for (at, mut words) in (0..).step_by(16).zip(descriptors) {
            words[0] |= phase;
            entry[at..][..16].copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
        }
        entry[32..][..header.len()].copy_from_slice(header);
        let slot = u64::from(queue.posted % queue.depth);
        self.driver.bench.push(queue.ring + slot * 128, &entry);
        queue.posted = queue.posted.wrapping_add(1);
    }

    fn ring(&mut self, queue: usize) {
        self.driver.ring(&self.queues[queue]);
    }

    fn act(&mut self, step: &Step) -> Option<Answer> {
        let id = self.id();
        match *step {
            Step::Send(_) if !self.has_room(0, 1) => {}
            Step::Push(_) if !self.has_room(1, 1) => {}
            Step::PushFirst(_) if !self.has_room(1, 2) => {}
            Step::Post(..) | Step::PostQuietly(_) if !self.has_room(2, 1) => {}
            Step::Send(len) => {
                let frame = vec![id as u8; len.into()];
                self.driver.send(&mut self.queues[0], id, &frame);
            }
            Step::Push(len) => {
                let (header, rest) = (len.min(96), len.saturating_sub(96));
                let at = self.driver.bench.allocate(rest.into());
                self.driver.bench.store(at, &vec![id as u8; rest.into()]);
                let mut first = transmit(id, 0, 0);
                // More follows, if there is more; the buffer's first bytes are in the entry.
                first[0] &= if rest > 0 { !(1 << 27) } else { u32::MAX };
                first[3] = u32::from(header) << 24;
                let second = [u32::from(rest) | 1 << 27, 0, at as u32, 0];
                let second = if rest > 0 { second } else { [0; 4] };
                self.push([first, second], &vec![0xee; header.into()]);
                self.ring(1);
            }
            Step::PushFirst(rung) => {
                let at = self.driver.bench.allocate(256);
                let mut first = transmit(id, at, 100);
                first[0] &= !(1 << 27);
                self.push([first, [50, 0, at as u32, 0]], &[]);
                if rung {
                    self.ring(1);
                }
                // The last descriptor is the next entry's first.
                let [_, queue, _] = &mut self.queues;
                let phase = u32::from(queue.posted & queue.depth == 0) << 24;
                let slot = u64::from(queue.posted % queue.depth);
                let last = [60 | 1 << 27 | phase, 0, at as u32, 0].map(u32::to_le_bytes);
                self.driver.bench.push(queue.ring + slot * 128, last.as_flattened());
                queue.posted = queue.posted.wrapping_add(1);
            }
            Step::Post(len, rung) => {
                self.driver.post_buffer(&mut self.queues[2], id, len);
                if rung {
                    self.ring(2);
                }
            }
            Step::PostQuietly(len) => {
                self.driver.post_buffer(&mut self.queues[2], id, len);
                let Queue { sq, posted, .. } = self.queues[2];
                let at = u64::from(sq) * QUIET_STRIDE + RX_DOORBELL;
                self.store(QUIET, at, posted.into());
            }
            Step::Bring(len, lane) => {
                self.driver.bench.stages[lane].bring(vec![0xff; len.into()]);
            }
            Step::Block(blocked) => self.driver.bench.stages[0].set_blocked(blocked),
            Step::Unmask(queue) => self.driver.unmask(&self.queues[queue]),
            Step::UnmaskQuietly(pair) => {
                self.store(QUIET, u64::from(pair) * QUIET_STRIDE + UNMASK, 1 << 30);
            }
            Step::MaskVector(vector, masked) => self.driver.bench.mask_vector(vector, masked),
            Step::BusMaster(on) => self.driver.bench.set_bus_master(on),
            Step::Stats => return self.command([11 << 16, 0]),
            Step::Mtu(mtu) => return self.feature(14, &[mtu.into()], &[]),
            Step::Key(byte) => {
                let buffer = [&10u32.to_le_bytes()[..], &[0; 4], &[byte; 40]].concat();
                return self.feature(10, &[0, 2, u32::MAX], &buffer);
            }
            Step::Table(queue) => {
                let table = u32::from(queue).to_le_bytes().repeat(128);
                return self.feature(12, &[0, 7, u32::MAX], &table);
            }
            Step::FreeEvents => self.driver.free_events(),
            Step::Link(up) => self.driver.bench.card.set_link(up),
            Step::MaskManagement(masked) => self.driver.bench.write(0x4c, masked.into()),
            Step::Anew(which, log) => {
                let (queue, driver) = (self.queues[which], &mut self.driver);
                // Without bus mastering nobody answers.
                driver.bench.set_bus_master(true);
                while driver.take_answer().is_some() {}
                driver.destroy(1 + u32::from(which == 2), &queue);
                let depth = 1 << log;
                self.heads[which] = 0;
                self.queues[which] = match which {
                    0 => driver.create_tx(depth, 1),
                    1 => driver.create_llq(depth, 2),
                    _ => driver.create_rx(depth, 1),
                };
            }
        }
        None
    }

    fn feature(&mut self, which: u32, payload: &[u32], buffer: &[u8]) -> Option<Answer> {
        let at = self.driver.bench.allocate(0x1000);
        self.driver.bench.store(at, buffer);
        let mut words = vec![9 << 16, buffer.len() as u32, at as u32, 0, which << 8];
        words.extend(payload);
        self.command(words)
    }

    /// The answer may come later, or be to an earlier one.
    fn command(&mut self, words: impl AsRef<[u32]>) -> Option<Answer> {
        let mut entry = [0; 16];
        entry[..words.as_ref().len()].copy_from_slice(words.as_ref());
        self.driver.enqueue(entry);
        self.driver.kick();
        self.driver.take_answer()
    }

    fn look(&mut self) -> Seen {
        let bench = &mut self.driver.bench;
        bench.settle();
        bench.settle();
        let mut seen = Seen {
            interrupts: bench.all_interrupts(),
            pending: bench.pending(),
            frames: bench
                .stages
                .iter()
                .flat_map(|stage| stage.take_sent())
                .map(|f| f.bytes)
                .collect(),
            ..Seen::default()
        };
        seen.status = self.driver.read(0x58);
        seen.answers.extend(std::iter::from_fn(|| self.driver.take_answer()));
        seen.events.extend(std::iter::from_fn(|| self.driver.take_event()));
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let taken = std::iter::from_fn(|| self.driver.take_completion(queue));
            seen.completions.extend(taken.map(|completion| (index, completion)));
            if let Some((_, last)) = seen.completions.last().filter(|(of, _)| *of == index) {
                self.heads[index] =
                    if index == 2 { queue.consumed } else { (last[1] >> 16) as u16 };
            }
        }
        seen
    }

    fn step(&mut self, step: &Step) -> Seen {
        let before = self.interrupts();
        let answer = self.act(step);
        let mut seen = self.look();
        seen.answers.extend(answer);
        since(&mut seen.interrupts, &before);
        seen
    }

    fn interrupts(&self) -> Vec<u64> {
        self.driver.bench.all_interrupts()
    }

    /// The machine stops, and goes on.
    fn pause(&mut self) -> Seen {
        let before = self.interrupts();
        self.driver.bench.card.stop();
        self.driver.bench.card.start();
        let mut seen = self.look();
        since(&mut seen.interrupts, &before);
        seen
    }

    /// The machine stops, and another goes on.
    fn replace(&mut self) -> Seen {
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
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_a_driver_does_has_the_same_effect_in_another_process(
        steps in prop::collection::vec((step(), prop::bool::weighted(0.15)), 1..60),
    ) {
        let (mut paused, mut replaced) = (Side::new(), Side::new());
        for (step, rests) in steps {
            prop_assert_eq!(replaced.step(&step), paused.step(&step), "{:?}", step);
            if rests {
                prop_assert_eq!(replaced.replace(), paused.pause());
            }
        }
        prop_assert_eq!(paused.driver.bench.read(0x58) & FATAL, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_changed_state_harms_more_than_a_guest(
        steps in prop::collection::vec(any::<u8>(), 0..800),
        changes in prop::collection::vec(any::<u8>(), 11..44),
    ) {
        let len = steps.len() / 8;
        hostile::states(&[&[len as u8], &steps[..len * 8], &changes].concat());
    }
}

/// A card with everything in use, which rests.
fn busy() -> Side {
    let mut side = Side::new();
    for step in [
        Step::Key(7),
        Step::Table(1),
        Step::Mtu(1500),
        Step::Post(2000, true),
        Step::Post(2000, true),
        Step::Bring(60, 1),
        Step::Bring(1400, 0),
        Step::Send(100),
        Step::PushFirst(true),
        Step::Unmask(0),
        Step::MaskVector(1, true),
    ] {
        side.step(&step);
    }
    side.driver.bench.card.stop();
    side
}

/// What a fresh card in the place of `bench` says to a state.
fn refusal(bench: &Bench, state: Value) -> String {
    let saved = Saved { kind: "ena".to_string(), version: 1, state };
    bench.fresh().card.load(&saved).map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn no_state_that_is_wrong_in_one_place_harms() {
    let side = busy();
    let mut saved = side.driver.bench.card.save().unwrap();
    // Each bucket is as good as another.
    let table = saved.state["settings"]["rss"]["table"].clone();
    saved.state["settings"]["rss"]["table"] = json!([]);
    let (mut loaded, mut refused) = (0, 0);
    for mut mutant in mutants(&saved.state) {
        if mutant["settings"]["rss"]["table"] == json!([]) {
            mutant["settings"]["rss"]["table"] = table.clone();
        }
        let next = side.driver.bench.fresh();
        let saved = Saved { state: mutant, ..saved.clone() };
        if next.card.load(&saved).is_err() {
            refused += 1;
            continue;
        }
        loaded += 1;
        next.card.start();
        next.settle();
        next.stages[0].bring(FRAME.to_vec());
        next.settle();
    }
    assert!(loaded > 500 && refused > 500, "{loaded} loaded, {refused} refused");
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    let side = busy();
    let state = side.driver.bench.card.save().unwrap().state;
    assert_eq!(refusal(&side.driver.bench, state.clone()), "");
    for (place, value, name) in [
        ("/queues/tx/0/depth", json!(0), "queues.tx"),
        ("/queues/tx/0/depth", json!(48), "queues.tx"),
        ("/queues/tx/1/depth", json!(2048), "queues.tx"),
        ("/queues/tx/0/base", json!(0xc000_0000u64), "queues.tx"),
        ("/queues/tx/0/base", json!(0x1ff_ff00), "queues.tx"),
        ("/queues/tx/0/cq", json!(1), "queues.tx"),
        ("/queues/tx/0/cq", json!(9), "queues.tx"),
        ("/queues/tx/0/ring", Value::Null, "queues"),
        ("/queues/tx/0/ring/tail", json!(66), "tx.tail"),
        ("/queues/rx/0/ring/tail", json!(100), "rx.tail"),
        ("/queues/rx/0/ring/buffers/0/address", json!(0x1ff_ffff), "rx.buffers"),
        ("/queues/rx/0/ring/buffers/0/len", json!(0), "rx.buffers"),
        ("/queues/rx", json!([]), "queues.rx"),
        ("/queues/cqs/0/ring/base", json!(4), "queues.cqs"),
        ("/queues/cqs/0/vector", json!(3), "queues.cqs"),
        ("/queues/cqs/0/ring/entry_words", json!(8), "queues.tx"),
        ("/queues/tx/0/ring/completions/interrupt_in_ns", json!(1_000_001), "interrupt_in_ns"),
        ("/admin/commands/depth", json!(33), "admin.commands"),
        ("/admin/answers/base", json!(u64::MAX), "admin.answers"),
        ("/events/ring/base", json!(0x2000_0000), "events.ring"),
        ("/events/groups", json!(2), "events.groups"),
        ("/events/age_ns", json!(u64::MAX), ""),
        ("/settings/mtu", json!(127), "settings.mtu"),
        ("/settings/mtu", json!(9217), "settings.mtu"),
        ("/settings/llq/entry_size", json!(192), "settings.llq"),
        ("/settings/rss/key", json!("00"), "rss.key"),
        ("/settings/rss/table/5", json!(2), "rss.table"),
        ("/settings/rss/fields/7", json!(0x3c), "rss.fields"),
        ("/settings/host/release", json!("a\u{1b}[2J"), "settings.host"),
        ("/vectors", json!([]), "vectors"),
        ("/window", Value::Null, "window"),
        ("/window/0/at", json!(0x3_fff0), "window"),
        ("/registers/resetting", json!(true), "queues"),
        ("/card/mac", json!("02:00:00:00:00:02"), "mac"),
        ("/card/pairs", json!(1), "pairs"),
        ("/card/max_mtu", json!(1500), "max_mtu"),
        ("/card/offloads", json!(u32::MAX), "offloads"),
    ] {
        let mut changed = state.clone();
        *changed.pointer_mut(place).expect(place) = value;
        let refusal = refusal(&side.driver.bench, changed);
        let wanted =
            if name.is_empty() { String::new() } else { format!("{name} of the ena cannot be: ") };
        let fits = refusal.starts_with(&wanted) && refusal.is_empty() == name.is_empty();
        assert!(fits, "{place}: {refusal:?}, not {wanted:?}");
    }
}

#[test]
fn another_address_is_refused_with_a_hint() {
    let side = busy();
    let saved = side.driver.bench.card.save().unwrap();
    let other = NicSpec { mac: Some(MacAddr([2, 0, 0, 0, 0, 9])), queues: PAIRS, ..spec() };
    let bench = Bench::of(&other, ABLE);
    bench.card.stop();
    let error = bench.card.load(&saved).unwrap_err().to_string();
    assert!(error.contains("02:00:00:00:00:01") && error.contains("unplug the card"), "{error}");
}

#[test]
fn a_card_at_work_has_no_state() {
    let side = Side::new();
    let error = side.driver.bench.card.save().unwrap_err().to_string();
    assert_eq!(error, "network card test is at work");
}

#[test]
fn a_packet_of_which_one_entry_of_two_is_pushed_leaves_once_it_is_whole() {
    let mut side = Side::new();
    side.act(&Step::PushFirst(true));
    assert_eq!(side.look().frames.len(), 0);
    side.replace();
    side.ring(1);
    let seen = side.look();
    assert_eq!(seen.frames.iter().map(Vec::len).collect::<Vec<_>>(), [210]);
    assert_eq!(seen.completions.len(), 1);
    side.replace();
    assert_eq!(side.look().frames.len(), 0);
}

#[test]
fn a_doorbell_in_memory_that_nobody_saw_is_not_lost() {
    let mut side = Side::new();
    // Rung in vain so often that it becomes memory.
    for _ in 0..20 {
        let queue = side.queues[0];
        side.driver.bench.write(queue.doorbell, queue.posted.into());
    }
    side.driver.bench.settle();
    assert!(side.driver.bench.machine.windows.window(PAGE).placed().is_some());
    let at = side.driver.bench.allocate(60);
    side.driver.bench.store(at, &FRAME);
    side.driver.post(&mut side.queues[0], transmit(9, at, 60));
    side.store(PAGE, 0, side.queues[0].posted.into());

    side.driver.bench.replace();

    assert!(side.driver.bench.machine.windows.window(PAGE).placed().is_none());
    let seen = side.look();
    assert_eq!(seen.frames, [FRAME]);
    assert_eq!(seen.completions.len(), 1);
}

#[test]
fn a_masked_vector_stays_pending_and_delivers_once() {
    let mut side = Side::new();
    side.step(&Step::Unmask(0));
    side.step(&Step::MaskVector(1, true));
    assert_eq!(side.step(&Step::Send(60)).pending, 1 << 1);
    let seen = side.replace();
    assert_eq!((seen.pending, seen.interrupts[1]), (1 << 1, 0));
    let seen = side.step(&Step::MaskVector(1, false));
    assert_eq!((seen.pending, seen.interrupts[1]), (0, 1));
}

#[test]
fn an_interrupt_that_was_put_off_comes() {
    let mut side = Side::new();
    let queue = side.queues[0];
    for id in 0.. {
        side.driver.unmask_later(&queue, 0, 1000);
        side.driver.send(&mut side.queues[0], id, &FRAME);
        side.driver.bench.card.stop();
        let saved = side.driver.bench.card.save().unwrap();
        let left = &saved.state["queues"]["tx"][0]["ring"]["completions"]["interrupt_in_ns"];
        if let Some(left) = left.as_u64() {
            assert!(left <= 1_000_000, "{left}");
            break;
        }
        // It came before the machine stopped.
        side.driver.bench.card.start();
        assert!(id < 60, "no interrupt is put off");
    }
    side.driver.bench.card.start();
    side.driver.bench.replace();
    let begun = Instant::now();
    while side.driver.bench.interrupts(1) == 0 {
        side.driver.bench.settle();
        assert!(begun.elapsed() < Duration::from_secs(60), "no interrupt");
    }
}

#[test]
fn statistics_go_on_and_a_reset_ends_them() {
    let mut side = Side::new();
    side.step(&Step::Send(100));
    side.replace();
    side.step(&Step::Send(200));
    side.replace();
    let sent = |answer: Answer| (answer.double(0), answer.double(8));
    assert_eq!(sent(side.driver.stats(0, 0, 0, 0).ok()), (300, 2));
    assert_eq!(side.driver.bench.card.inspect().resets, 1);
    side.driver.bench.forget_allocations();
    side.driver.probe();
    assert_eq!(sent(side.driver.stats(0, 0, 0, 0).ok()), (0, 0));
    assert_eq!(side.driver.bench.card.inspect().resets, 2);
}

#[test]
fn keep_alives_go_on_at_once_however_long_it_was() {
    let mut driver = Driver::probed(1);
    driver.bench.replace();
    driver.bench.settle();
    let events: Vec<_> = std::iter::from_fn(|| driver.take_event()).collect();
    let keep_alives = events.iter().filter(|event| 1 << event.group == group::KEEP_ALIVE);
    assert_eq!(keep_alives.count(), 1);
}

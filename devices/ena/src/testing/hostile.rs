//! A guest that does anything: its steps are read from bytes, so that a fuzzer and a property test
//! drive the same one.

use std::fs::File;
use std::time::{Duration, Instant};

use device_core::bus::Width;
use device_core::device::Device;
use device_core::ram_window::RamWindow;
use device_core::testing::{Choices, mutate};
use net::backend::script::WireFrame;
use net::control::capture::CaptureSpec;
use net::control::{Fault, NicControl};
use net::frame::{Csum, FrameMeta, Gso, GsoKind};
use net::stage::limiter::Allowed;
use vm_memory::{Bytes, GuestAddress};

use super::bench::{Bench, MEMORY};
use super::driver::{Driver, FATAL, Queue, READY, RESETTING, reg};
use crate::registers::QUIET_STRIDE;
use crate::registers::{page, quiet_of};

const PAIRS: u16 = 2;
const FRAME: [u8; 60] = [0x2a; 60];

/// Often in RAM, sometimes at its end or anywhere.
fn address(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() % 8 {
        0 => MEMORY as u64 - u64::from(choices.byte()),
        1 => u64::from(choices.word()) << 32 | u64::from(choices.word()),
        2 => 0xe000_0000 + u64::from(choices.half()),
        _ => 0x1_0000 + u64::from(choices.half()) * 8,
    }
}

/// Registers that a guest may write; all of them, and some that are none.
const REGISTERS: [u64; 24] = [
    0, 8, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x34, 0x38, 0x3c, 0x40, 0x48, 0x4c, 0x54,
    0x58, 0x5c, 0x60, 0x64, 0x68, 0x100, 0x3ffc,
];
const OPCODES: [u32; 9] = [1, 2, 3, 4, 8, 9, 11, 0, 0x7f];
const FEATURES: [u8; 17] = [1, 2, 3, 4, 7, 10, 11, 12, 14, 18, 20, 26, 27, 28, 0, 31, 255];
const FAULTS: [Fault; 6] = [
    Fault::StopKeepAlive,
    Fault::NoAnswer,
    Fault::SwallowTx(3),
    Fault::WrongTxId,
    Fault::RequestReset,
    Fault::Fatal,
];

/// A guest at work on a card.
struct Guest {
    driver: Driver,
    queues: Vec<(u32, Queue)>,
    start: Instant,
}

/// Writes to one of the card's windows, in the order they were made: low-latency queues, two pages,
/// registers without traps.
fn store(bench: &Bench, window: usize, at: u64, value: u32) {
    let window = bench.machine.windows.window(window);
    window.memory().write_obj(value, GuestAddress(at)).unwrap();
}

/// A TCP frame that is to be cut, or something like one.
fn large(choices: &mut Choices<'_>) -> WireFrame {
    let mut bytes = vec![0xff; 12];
    bytes.extend([8, 0, 0x45, 0, 0xff, 0xff, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([1, 2, 3, 4, 0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    bytes.resize(bytes.len() + usize::from(choices.half() % 10_000), 7);
    let at = usize::from(choices.byte()) % bytes.len();
    bytes[at] ^= choices.byte() & 0x11;
    let segment = u16::from(choices.byte()) * 16 + 1;
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment, headers: 54 });
    let csum = Csum::Needed { start: 34, offset: 16 };
    WireFrame { meta: FrameMeta { csum, gso, hash: None }, bytes }
}

impl Guest {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let bench = &mut self.driver.bench;
        match choices.byte() % 20 {
            0 => {
                let register = REGISTERS[usize::from(choices.byte()) % REGISTERS.len()];
                bench.write(register, choices.word());
            }
            1 => {
                let width = [Width::B1, Width::B2, Width::B8, Width::B4];
                let width = width[usize::from(choices.byte() % 4)];
                let offset = u64::from(choices.half() % 0x3ff8);
                bench.poke(offset, width, u64::from(choices.word()) << 16);
                bench.peek(offset, width);
            }
            2 | 3 => self.command(choices),
            4 => self.create(choices),
            5 | 6 => self.post(choices),
            7 | 8 => self.ring(choices),
            9 => {
                let at = address(choices).min(MEMORY as u64 - 16);
                bench.store_words(at, &choices.words::<4>());
            }
            10 => {
                let at = u64::from(choices.half()) * 8 % 0x4_0000;
                let words = choices.words::<4>();
                bench.push(at, words.map(u32::to_le_bytes).as_flattened());
            }
            11 => {
                let stage = &bench.stages[usize::from(choices.byte()) % bench.stages.len()];
                let mut frame = vec![0xff; 6];
                frame.resize(usize::from(choices.half() % 10_000), 7);
                stage.bring(if choices.byte() < 128 { frame.into() } else { large(choices) });
            }
            12 => bench.stages[0].set_blocked(choices.byte().is_multiple_of(2)),
            13 => {
                let value = choices.word() | u32::from(choices.byte()) << 24;
                let (pair, register) = (u16::from(choices.byte() % 2), choices.byte() % 3);
                let at = u64::from(register % 2) * 4;
                let trapped = choices.byte().is_multiple_of(2);
                match (register, trapped) {
                    (2, true) => bench.write(page(pair), value),
                    (_, true) => bench.write(quiet_of(pair) + at, value),
                    // As if it were memory just now.
                    (2, false) => store(bench, 1 + usize::from(pair), 0, value),
                    (_, false) => store(bench, 3, u64::from(pair) * QUIET_STRIDE + at, value),
                }
            }
            14 => bench.set_bus_master(!choices.byte().is_multiple_of(4)),
            15 => {
                bench.tick(self.start + Duration::from_millis(choices.half().into()));
            }
            16 => drop(bench.card.inject(FAULTS[usize::from(choices.byte()) % FAULTS.len()])),
            17 => match choices.byte() % 8 {
                0 => bench.function_reset(),
                1 => {
                    bench.card.stop();
                    bench.settle();
                    bench.card.start();
                }
                2 => self.driver.set_rings(),
                3 => bench
                    .mask_vector(u16::from(choices.byte() % 3), choices.byte().is_multiple_of(2)),
                4 => look_on(bench, choices),
                5 => bench.replace(),
                _ => bench.restore(),
            },
            18 => {
                bench.write(reg::DEV_CTL, u32::from(choices.byte() % 2));
                self.queues.clear();
            }
            _ => bench.settle(),
        }
    }

    fn command(&mut self, choices: &mut Choices<'_>) {
        let mut words = choices.words::<16>();
        let opcode = OPCODES[usize::from(choices.byte()) % OPCODES.len()];
        words[0] = opcode << 16;
        if matches!(opcode, 8 | 9 | 11) {
            let address = address(choices);
            words[1] = choices.word();
            (words[2], words[3]) = (address as u32, (address >> 32) as u32 & 0xffff);
        }
        if matches!(opcode, 8 | 9) {
            let feature = FEATURES[usize::from(choices.byte()) % FEATURES.len()];
            words[4] = u32::from(feature) << 8 | u32::from(choices.byte() % 2) << 16;
        }
        self.driver.enqueue(words);
        self.driver.kick();
        self.driver.take_answer();
    }

    /// A queue as a driver would make it, if the card still answers.
    fn create(&mut self, choices: &mut Choices<'_>) {
        if self.queues.len() >= 8 {
            return;
        }
        let (direction, placement, words) =
            [(1, 1, 2), (1, 3, 2), (2, 1, 4)][usize::from(choices.byte() % 3)];
        let depth = 1 << (1 + choices.byte() % 9);
        let (completions, ring) = (address(choices) & !7, address(choices) & !7);
        let Some(cq) = self.ask(|driver| driver.enqueue(create_cq(words, depth, completions)))
        else {
            return;
        };
        let Some(sq) = self.ask(|driver| {
            driver.enqueue(create_sq(direction, placement, cq[2] as u16, depth, ring))
        }) else {
            return;
        };
        self.queues.push((
            direction,
            Queue {
                sq: sq[2] as u16,
                cq: cq[2] as u16,
                depth,
                ring: if placement == 1 { ring } else { sq[4].into() },
                completions,
                completion_len: u64::from(words) * 4,
                doorbell: sq[3].into(),
                unmask: cq[5].into(),
                posted: 0,
                consumed: 0,
            },
        ));
    }

    /// The answer of a command that went well.
    fn ask(&mut self, enqueue: impl FnOnce(&mut Driver) -> u16) -> Option<[u32; 16]> {
        let id = enqueue(&mut self.driver);
        self.driver.kick();
        let answer = self.driver.take_answer()?;
        (answer.id == id && answer.status == 0).then_some(answer.words)
    }

    /// A descriptor that is often right.
    fn post(&mut self, choices: &mut Choices<'_>) {
        let words = match choices.byte() % 3 {
            0 => choices.words(),
            _ => {
                let at = address(choices);
                let flags =
                    u32::from(choices.byte() | 0x10) << 24 | u32::from(choices.byte()) << 16;
                let len = u32::from(choices.half() % 4096);
                [len | flags & 0x1eff_0000, choices.word(), at as u32, (at >> 32) as u32 & 0xffff]
            }
        };
        let at = usize::from(choices.byte());
        let count = self.queues.len();
        let Some((_, queue)) = self.queues.get_mut(at % count.max(1)) else { return };
        if queue.ring != 0 && queue.ring < MEMORY as u64 {
            self.driver.post(queue, words);
        }
    }

    fn ring(&mut self, choices: &mut Choices<'_>) {
        let (at, wild) = (usize::from(choices.byte()), choices.byte().is_multiple_of(16));
        let count = self.queues.len();
        let Some((_, queue)) = self.queues.get(at % count.max(1)) else { return };
        let value = if wild { choices.word() } else { queue.posted.into() };
        self.driver.bench.write(queue.doorbell, value);
        self.driver.bench.settle();
    }
}

fn create_cq(words: u32, depth: u16, ring: u64) -> [u32; 16] {
    let mut command = [0; 16];
    command[0] = 3 << 16;
    command[1] = 0x20 | words << 8 | u32::from(depth) << 16;
    (command[2], command[3]) = (1, ring as u32);
    command[4] = (ring >> 32) as u32 & 0xffff;
    command
}

fn create_sq(direction: u32, placement: u32, cq: u16, depth: u16, ring: u64) -> [u32; 16] {
    let mut command = [0; 16];
    command[0] = 1 << 16;
    command[1] = direction << 5 | placement << 16 | 1 << 24;
    command[2] = u32::from(cq) | u32::from(depth) << 16;
    (command[3], command[4]) = (ring as u32, (ring >> 32) as u32 & 0xffff);
    command
}

/// Does what `bytes` say to a card, then resets it, checks that it is silent in between, and that
/// a driver finds it as new.
pub fn run(bytes: &[u8]) {
    recovers(work(bytes));
}

/// The state of a card whose guest did what the first `8 * bytes[0]` bytes say, changed in places as
/// the others say: either it is refused, or a reset brings the card back.
pub fn states(bytes: &[u8]) {
    let (len, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let (steps, changes) = rest.split_at(rest.len().min(8 * usize::from(*len)));
    let bench = work(steps);
    bench.card.stop();
    let mut saved = bench.card.save().unwrap();
    mutate(&mut saved.state, changes);
    let mut next = bench.fresh();
    next.take_over(&bench);
    if next.card.load(&saved).is_err() {
        return;
    }
    next.card.start();
    for pair in 0..PAIRS {
        for tail in [1, 7, 0xffff] {
            for register in [page(pair), quiet_of(pair) + 4, quiet_of(pair)] {
                next.write(register, tail | 1 << 30);
            }
            next.stages[usize::from(pair)].bring(vec![0xff; 300]);
            next.settle();
        }
    }
    next.write(reg::AQ_DB, 5);
    next.write(reg::AENQ_HEAD, 5);
    next.tick(Instant::now() + Duration::from_secs(2));
    recovers(next);
}

/// Does what `bytes` say to a card.
fn work(bytes: &[u8]) -> Bench {
    let mut choices = Choices::new(bytes);
    let driver = match choices.byte() % 4 {
        0 => Driver::new(PAIRS),
        1 => {
            let mut driver = Driver::new(PAIRS);
            driver.attach();
            driver
        }
        _ => Driver::probed(PAIRS),
    };
    let mut guest = Guest { driver, queues: Vec::new(), start: Instant::now() };
    while !choices.is_empty() {
        guest.step(&mut choices);
    }
    guest.driver.bench
}

/// Registers of any width, anywhere: 16 bytes for each access.
pub fn registers(bytes: &[u8]) {
    let mut driver = Driver::probed(PAIRS);
    for access in bytes.chunks(16) {
        let mut access = Choices::new(access);
        let widths = [Width::B1, Width::B2, Width::B4, Width::B8];
        let (which, register) = (access.byte(), access.half());
        let (offset, width) = if which < 128 {
            (REGISTERS[usize::from(register) % REGISTERS.len()], Width::B4)
        } else {
            let width = widths[usize::from(which % 4)];
            (u64::from(register) % (0x4000 - width.bytes()), width)
        };
        let value = u64::from(access.words::<1>()[0]) | u64::from(access.word()) << 32;
        driver.bench.poke(offset, width, value & width.mask());
        driver.bench.peek(offset, width);
    }
    recovers(driver.bench);
}

/// Entries of the admin queue: 64 bytes for each.
pub fn commands(bytes: &[u8]) {
    let mut driver = Driver::probed(PAIRS);
    for entry in bytes.chunks_exact(64) {
        let (words, _) = entry.as_chunks();
        let words = std::array::from_fn(|n| u32::from_le_bytes(words[n]));
        driver.enqueue(words);
        driver.kick();
        driver.take_answer();
    }
    driver.bench.settle();
    recovers(driver.bench);
}

/// Descriptors of all three kinds of ring: a byte says which, then 16 for each descriptor or 128
/// for each low-latency entry.
pub fn rings(bytes: &[u8]) {
    let mut driver = Driver::probed(PAIRS);
    let mut queues =
        [driver.create_tx(256, 1), driver.create_llq(256, 2), driver.create_rx(256, 1)];
    let mut rest = bytes;
    while let Some((which, after)) = rest.split_first() {
        let which = usize::from(which % 3);
        let (entry, after) = after.split_at(after.len().min(if which == 1 { 128 } else { 16 }));
        rest = after;
        let queue = &mut queues[which];
        if which == 1 {
            let slot = u64::from(queue.posted % queue.depth);
            driver.bench.push(queue.ring + slot * 128, entry);
            queue.posted = queue.posted.wrapping_add(1);
        } else {
            let mut words = [0; 16];
            words[..entry.len()].copy_from_slice(entry);
            let (words, _) = words.as_chunks();
            driver.post(queue, std::array::from_fn(|n| u32::from_le_bytes(words[n])));
        }
        let queue = *queue;
        driver.ring(&queue);
        driver.bench.stages[0].bring(vec![0xff; 300]);
        driver.bench.settle();
    }
    recovers(driver.bench);
}

/// Where a guest of these has its rings and buffers, most of the time.
fn touched(bench: &Bench) -> [Vec<u8>; 2] {
    [bench.load(0, 0x10_0000), bench.load(MEMORY as u64 - 0x1000, 0x1000)]
}

/// What the one who runs the machine may ask at any time.
fn look_on(bench: &Bench, choices: &mut Choices<'_>) {
    let (card, on) = (&bench.card, choices.byte().is_multiple_of(2));
    match choices.byte() % 6 {
        0 => card.set_link(on),
        1 => card.measure_latency(on),
        2 => {
            let pairs = card.inspect().pairs.len();
            assert_eq!(card.counters().len(), pairs);
            assert!(card.latency().is_none_or(|latency| latency.pairs.len() == pairs));
            assert!(card.rss().is_none_or(|rss| rss.table.len() == 128));
        }
        3 => card.clear_faults(),
        4 => card.limit(&Allowed { conntrack: on.then_some(2), ..Allowed::default() }),
        _ if on => {
            let spec = CaptureSpec { ring: true, max_bytes: 64 << 10, ..CaptureSpec::default() };
            let to = File::create("/dev/null").unwrap();
            card.start_capture(to, &spec).unwrap();
        }
        _ => assert!(card.stop_capture().is_none_or(|state| state.ended.is_some())),
    }
}

/// A reset brings the card back, whatever was done to it.
fn recovers(mut bench: Bench) {
    bench.card.set_link(true);
    bench.card.limit(&Allowed::default());
    bench.restore();
    assert_eq!(bench.read(reg::DEV_STS) & READY, READY);
    bench.write(reg::DEV_CTL, 1);
    assert_eq!(bench.read(reg::DEV_STS) & RESETTING, RESETTING);
    let memory = touched(&bench);
    for stage in &bench.stages {
        stage.set_blocked(false);
    }
    bench.settle();
    bench.tick(Instant::now() + Duration::from_secs(100));
    assert!(touched(&bench) == memory, "the card wrote to memory after a reset");
    bench.write(reg::DEV_CTL, 0);
    assert_eq!(bench.read(reg::DEV_STS) & (RESETTING | FATAL), 0);
    for stage in &bench.stages {
        stage.scene().incoming.clear();
        stage.take_sent();
    }
    bench.forget_allocations();
    let mut driver = Driver::on(bench);
    driver.probe();
    let (mut tx, mut rx) = (driver.create_tx(256, 1), driver.create_rx(256, 1));
    driver.send(&mut tx, 7, &FRAME);
    assert_eq!(driver.bench.stages[0].take_sent().len(), 1);
    assert_eq!(driver.take_completion(&mut tx).map(|[first, ..]| first as u16), Some(7));
    driver.post_buffer(&mut rx, 3, 2048);
    driver.ring(&rx);
    driver.bench.stages[0].bring(vec![0xff; 60]);
    driver.bench.settle();
    assert!(driver.take_completion(&mut rx).is_some());
}

//! A guest that does anything: its steps are read from bytes, so that a fuzzer and a property test drive
//! the same one.

use block::control::DiskControl;
use block::request::Outcome;
use block::spec::{Allowed, Fault};
use device_core::bus::Width;
use device_core::device::Device;
use device_core::rate::Quota;
use device_core::testing::{Choices, mutate};

use super::bench::{Bench, DISK, MEMORY};
use super::driver::{Driver, ENABLE, Pair, READY, blocks, command, cq_doorbell, reg, sq_doorbell};

const QUEUES: u16 = 3;

/// Often a page of RAM, sometimes with an offset, at its end or anywhere.
fn address(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() % 8 {
        0 => MEMORY - u64::from(choices.half() & 0x1fff),
        1 => u64::from(choices.word()) << 32 | u64::from(choices.word()),
        2 => 0xe000_0000 + u64::from(choices.half()),
        3 => 0x1_0000 + u64::from(choices.half()) * 8,
        _ => 0x1_0000 + u64::from(choices.byte()) * 4096,
    }
}

const ADMIN: [u8; 14] =
    [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x7c, 0x80, 0xc0, 0x7f];
const IO: [u8; 9] = [0, 1, 2, 5, 8, 9, 4, 0x0c, 0xff];
const LOGS: [u8; 8] = [1, 2, 3, 4, 5, 0xd0, 0, 0x7f];

/// A guest at work on a controller.
struct Guest {
    driver: Driver,
    pairs: Vec<Pair>,
}

impl Guest {
    fn new(driver: Driver) -> Guest {
        Guest { driver, pairs: Vec::new() }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let bench = &mut self.driver.bench;
        match choices.byte() % 16 {
            0 => {
                let register =
                    choices.one(&[0, 8, 0xc, 0x10, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30]);
                bench.write(register, choices.word());
            }
            1 => {
                let width = choices.one(&[Width::B1, Width::B2, Width::B4, Width::B8]);
                let offset = u64::from(choices.half() % 0x3ff8);
                bench.poke(offset, width, u64::from(choices.word()) & width.mask());
                bench.peek(offset, width);
            }
            2 | 3 => self.admin(choices),
            4 => self.create(choices),
            5..=7 => self.submit(choices),
            8 => {
                let queue = u16::from(choices.byte() % 5);
                let doorbell = choices.one(&[sq_doorbell(queue), cq_doorbell(queue)]);
                bench.write(doorbell, choices.word());
            }
            9 => {
                let at = address(choices).min(MEMORY - 16);
                bench.store_words(at, &std::array::from_fn::<_, 4, _>(|_| choices.word()));
            }
            10 => match choices.byte() % 8 {
                0 => bench.disk.force(Some(Outcome::Medium)),
                1 => bench.disk.force(None),
                2 => bench.disk.resize(DISK + u64::from(choices.byte()) * 512),
                3 => drop(bench.card.refresh()),
                4 => bench.disk.throttle(choices.byte().is_multiple_of(2)),
                _ => bench.disk.hold(choices.byte().is_multiple_of(2)),
            },
            11 => bench.disk.release(),
            12 => match choices.byte() % 8 {
                which @ (0..=2 | 7) => {
                    // Nobody waits for what this thread holds.
                    bench.disk.hold(false);
                    bench.disk.release();
                    match which {
                        0 => bench.set_bus_master(false),
                        1 => bench.function_reset(),
                        7 => bench.replace(),
                        _ => {
                            bench.card.stop();
                            bench.settle();
                            bench.card.start();
                        }
                    }
                }
                3 => bench.mask_vector(choices.half() % 4, choices.byte().is_multiple_of(2)),
                4 => look_on(bench, choices),
                5 => bench.card.clear_faults(),
                _ => bench.restore(),
            },
            13 => {
                self.pairs.clear();
                bench.write(reg::CC, 0);
                bench.settle();
                self.driver.set_admin_queues();
                self.driver.bench.write(reg::CC, ENABLE | u32::from(choices.byte() & 1) << 14);
            }
            14 => {
                let at = usize::from(choices.byte()) % self.pairs.len().max(1);
                if let Some(mut pair) = self.pairs.get(at).copied() {
                    while self.driver.take(&mut pair).is_some() {}
                    self.pairs[at] = pair;
                }
            }
            _ => bench.settle(),
        }
    }

    fn admin(&mut self, choices: &mut Choices<'_>) {
        let opcode = choices.one(&ADMIN);
        let prps = [address(choices), address(choices)];
        let mut words = command(opcode, choices.one(&[0, 1, 2, u32::MAX]), prps);
        words[0] |= if choices.byte() == 0 { choices.word() & 0xff00 } else { 0 };
        (words[10], words[11]) = (choices.word(), choices.word());
        match opcode {
            0x00 | 0x01 | 0x04 | 0x05 => {
                words[10] = u32::from(choices.byte() % 5) | u32::from(choices.half() % 1100) << 16;
                words[11] = u32::from(choices.byte() % 4) | u32::from(choices.byte() % 5) << 16;
            }
            0x02 => {
                words[10] = u32::from(choices.one(&LOGS)) | choices.word() << 15;
                (words[12], words[13]) = (choices.word(), choices.word() & 1);
            }
            0x06 => words[10] = u32::from(choices.byte() % 9),
            0x09 | 0x0a => words[10] = u32::from(choices.byte() % 16),
            _ => {}
        }
        self.driver.submit(words);
        self.driver.take_answer();
    }

    /// Queues as a driver would make them, if the controller still answers.
    fn create(&mut self, choices: &mut Choices<'_>) {
        let (id, cq) = (u16::from(choices.byte() % 4), u16::from(choices.byte() % 4));
        let sizes = [2 + choices.half() % 40, 2 + choices.half() % 40];
        let places = [address(choices) & !0xfff, address(choices) & !0xfff];
        let mut words = command(0x05, 0, [places[1], 0]);
        words[10] = u32::from(cq) | u32::from(sizes[1] - 1) << 16;
        words[11] = 3 | u32::from(choices.byte() % 4) << 16;
        self.driver.submit(words);
        self.driver.take_answer();
        let mut words = command(0x01, 0, [places[0], 0]);
        words[10] = u32::from(id) | u32::from(sizes[0] - 1) << 16;
        words[11] = 1 | u32::from(cq) << 16;
        self.driver.submit(words);
        let made = self.driver.take_answer().is_some_and(|answer| answer.status == 0);
        if made && places.iter().all(|place| *place + 4096 <= MEMORY) && self.pairs.len() < 8 {
            self.pairs.push(Pair {
                sq: id,
                cq,
                size: sizes[0],
                cq_size: sizes[1],
                commands: places[0],
                answers: places[1],
                tail: 0,
                head: 0,
                phase: true,
            });
        }
    }

    /// A command that is often right.
    fn submit(&mut self, choices: &mut Choices<'_>) {
        let at = usize::from(choices.byte()) % self.pairs.len().max(1);
        let Some(mut pair) = self.pairs.get(at).copied() else { return };
        let prps = [address(choices), address(choices)];
        let opcode = choices.one(&IO);
        let first = if choices.byte() < 200 { choices.half().into() } else { u64::MAX };
        let mut words = blocks(opcode, prps, first, choices.byte().into(), 0);
        if choices.byte() < 40 {
            words[12] |= choices.word();
            words[1] = choices.word();
        }
        words[11] |= u32::from(choices.byte() & 4);
        if pair.commands + u64::from(pair.size) * 64 <= MEMORY {
            self.driver.enqueue(&mut pair, words);
        }
        self.driver.ring(&pair);
        self.pairs[at] = pair;
        if choices.byte() < 200 {
            self.driver.bench.settle();
        }
    }
}

/// Does what `bytes` say to a controller, then resets it, checks that it is silent in between, and that a
/// driver finds it as new.
pub fn run(bytes: &[u8]) {
    recovers(work(bytes));
}

/// The state of a controller whose guest did what the first `8 * bytes[0]` bytes say, changed in places as
/// the others say: either it is refused, or a reset brings the controller back.
pub fn states(bytes: &[u8]) {
    let (len, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let (steps, changes) = rest.split_at(rest.len().min(8 * usize::from(*len)));
    let bench = work(steps);
    bench.disk.hold(false);
    bench.disk.release();
    bench.card.stop();
    let mut saved = bench.card.save().unwrap();
    mutate(&mut saved.state, changes);
    let mut next = bench.fresh();
    next.take_over(&bench);
    if next.card.load(&saved).is_err() {
        return;
    }
    next.card.start();
    for queue in 0..=QUEUES {
        for index in [1, 2, 0] {
            next.write(sq_doorbell(queue), index);
            next.write(cq_doorbell(queue), index);
            next.settle();
        }
    }
    recovers(next);
}

/// Does what `bytes` say to a controller.
fn work(bytes: &[u8]) -> Bench {
    let mut choices = Choices::new(bytes);
    let mut guest = Guest::new(Driver::new(QUEUES));
    let how = choices.byte() % 4;
    if how > 0 {
        guest.driver = guest.driver.enabled();
    }
    if how > 1 {
        guest.pairs = (1..=QUEUES).map(|id| guest.driver.create_pair(id, 8)).collect();
    }
    if how > 2 {
        guest.driver.shadow_doorbells();
    }
    while !choices.is_empty() {
        guest.step(&mut choices);
    }
    guest.driver.bench
}

/// Registers and doorbells of any width, anywhere: 16 bytes for each access.
pub fn registers(bytes: &[u8]) {
    let mut driver = Driver::ready(QUEUES);
    driver.create_pair(1, 8);
    for access in bytes.chunks(16) {
        let mut access = Choices::new(access);
        let (which, place) = (access.byte(), access.half());
        let (offset, width) = if which < 128 {
            (u64::from(place % 0x440) * 4, Width::B4)
        } else {
            (u64::from(place) % 0x3ff8, access.one(&[Width::B1, Width::B2, Width::B4, Width::B8]))
        };
        let value = u64::from(access.word()) | u64::from(access.word()) << 32;
        driver.bench.poke(offset, width, value & width.mask());
        driver.bench.peek(offset, width);
    }
    recovers(driver.bench);
}

/// Entries of queues: a byte says which queue, then 64 for each entry.
pub fn commands(bytes: &[u8]) {
    let mut driver = Driver::ready(QUEUES);
    let mut pair = driver.create_pair(1, 8);
    for entry in bytes.chunks_exact(65) {
        let (words, _) = entry[1..].as_chunks();
        let words = std::array::from_fn(|n| u32::from_le_bytes(words[n]));
        if entry[0].is_multiple_of(2) {
            driver.submit(words);
            driver.take_answer();
        } else {
            driver.enqueue(&mut pair, words);
            driver.ring(&pair);
            driver.bench.settle();
            driver.take(&mut pair);
        }
    }
    recovers(driver.bench);
}

/// What the one who runs the machine may ask at any time.
fn look_on(bench: &Bench, choices: &mut Choices<'_>) {
    let faults = [Fault::Vanish, Fault::Fatal, Fault::Slow, Fault::Error];
    match choices.byte() % 4 {
        0 => assert_eq!(bench.card.inspect().id, "data"),
        1 => bench.card.limit(&Allowed { iops: Quota::per_second(9), ..Allowed::default() }),
        _ => bench.card.inject(choices.one(&faults)).unwrap(),
    }
}

/// Where a guest of these has its queues and buffers.
fn touched(bench: &Bench) -> [Vec<u8>; 2] {
    [bench.load(0, 0x12_0000), bench.load(MEMORY - 0x3000, 0x3000)]
}

/// A reset brings the controller back, whatever was done to it.
fn recovers(mut bench: Bench) {
    bench.disk.hold(false);
    bench.disk.throttle(false);
    bench.disk.force(None);
    bench.card.clear_faults();
    bench.disk.release();
    bench.restore();
    bench.write(reg::CC, 0);
    bench.settle();
    assert_eq!(bench.read(reg::CSTS) & READY, 0);
    let memory = touched(&bench);
    for queue in 0..=QUEUES {
        bench.write(sq_doorbell(queue), 1);
        bench.write(cq_doorbell(queue), 1);
    }
    bench.settle();
    assert!(touched(&bench) == memory, "the controller wrote to memory after a reset");
    bench.forget_allocations();
    bench.disk.take_asked();
    let mut driver = Driver::on(bench).enabled();
    let page = driver.page;
    for id in 1..=QUEUES {
        let mut pair = driver.create_pair(id, 16);
        // Once around.
        for round in 0..17 {
            driver.bench.store(page, &[id as u8 + round; 512]);
            driver.io(&mut pair, blocks(1, [page, 0], 7, 1, 0)).ok();
            driver.bench.store(page, &[0; 512]);
            driver.io(&mut pair, blocks(2, [page, 0], 7, 1, 0)).ok();
            assert_eq!(driver.bench.load(page, 512), [id as u8 + round; 512]);
        }
    }
}

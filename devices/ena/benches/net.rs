//! Frames through an ENA card, one lane on one core, against a backend that costs nothing; the same
//! as virtio-net's bench of this name.

#[path = "../../net/benches/thread_time.rs"]
mod thread_time;

use std::cell::Cell;
use std::fs::File;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use device_core::GuestRam;
use device_core::ram_window::RamWindow;
use device_core::worker::Threads;
use ena::testing::bench::{ABLE, Bench, spec};
use ena::testing::driver::{Driver, Queue, transmit};
use net::backend::null::Null;
use net::backend::script::stage;
use net::backend::tap::open_by_name;
use net::backend::{NetBackend, NetQueue, loopback};
use net::control::NicControl;
use net::control::capture::{CaptureSpec, CaptureState};
use net::frame::Csum;
use vm_memory::{Bytes, GuestAddress};

use thread_time::ThreadTime;

/// Frames between two looks of the driver; also the depth of the rings, so that descriptors differ
/// between laps by nothing but their phase.
const BATCH: u16 = 128;
/// Words of a capture's ring, and of a record in it besides the frame.
const RING_WORDS: u64 = 256 << 10;
const RECORD_WORDS: u64 = 6;
/// Bytes of a low-latency entry, and those of it before the header.
const ENTRY: usize = 128;
const HEADER_AT: usize = 32;

/// A card whose backend takes every frame and brings frames of `len` bytes without end, knowing
/// `csum` of them.
fn driver(len: usize, csum: Csum) -> Driver {
    driver_on(Box::new(Null::new(u64::MAX, len, csum)))
}

fn driver_on(queue: Box<dyn NetQueue>) -> Driver {
    let (backend, _, _) = stage(1, ABLE).expect("eventfd");
    driver_with(Box::new(backend), queue)
}

fn driver_with(backend: Box<dyn NetBackend>, queue: Box<dyn NetQueue>) -> Driver {
    // Captures are written beside, as in a machine.
    let threads = Threads::by_hand().and_then(Threads::with_capture_thread).expect("a thread");
    let bench = Bench::on_threads(threads, &spec(), backend, vec![queue], vec![]);
    let mut driver = Driver::on(bench);
    driver.probe();
    driver
}

/// A ring full of frames of `len` bytes, in `pieces` descriptors each.
fn fill(driver: &mut Driver, queue: &mut Queue, len: u16, pieces: u16) {
    let at = driver.bench.allocate(0x2_0000);
    driver.bench.store(at, &[0xff; 6]); // comes back to where it may pass
    for id in 0..queue.depth / pieces {
        for piece in 0..pieces {
            let [flags, rest @ ..] = transmit(id, at + 4096 * u64::from(piece), len / pieces);
            let (first, last) = (piece == 0, piece + 1 == pieces);
            let keep = u32::from(first) << 26 | u32::from(last) << 27 | 1 << 28;
            let [a, b, c] = rest;
            driver.post(queue, [flags & !(7 << 26) | keep, a, b, c]);
        }
    }
}

/// The same in the card's memory: as much as fits into an entry is there.
fn fill_entries(driver: &mut Driver, queue: &mut Queue, len: u16) {
    let at = driver.bench.allocate(0x1000);
    for id in 0..queue.depth {
        let pushed = usize::from(len).min(ENTRY - HEADER_AT);
        let [flags, id, low, high] = transmit(id, at, len - pushed as u16);
        let mut entry = [0x2a; ENTRY];
        let words = [flags | 1 << 24, id, low, high | (pushed as u32) << 24, 0, 0, 0, 0];
        entry[..HEADER_AT].copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
        driver.bench.push(queue.ring + u64::from(queue.posted) * ENTRY as u64, &entry);
        queue.posted += 1;
    }
}

/// A transmit queue whose ring is written a lap at a time, as it was filled once.
struct Laps {
    queue: Queue,
    memory: GuestRam,
    /// Even laps and odd ones.
    bytes: [Vec<u8>; 2],
    lap: usize,
}

impl Laps {
    /// Of a ring that was just filled: entries of `stride` bytes in `memory`, each with one
    /// descriptor.
    fn new(queue: Queue, memory: GuestRam, stride: usize) -> Laps {
        let mut even = vec![0; usize::from(queue.depth) * stride];
        memory.read_slice(&mut even, GuestAddress(queue.ring)).expect("the ring is in memory");
        let mut odd = even.clone();
        odd.iter_mut().skip(3).step_by(stride).for_each(|byte| *byte ^= 1);
        Laps { queue: Queue { posted: 0, ..queue }, memory, bytes: [even, odd], lap: 0 }
    }

    /// A lap of descriptors, then the doorbell; the interrupt is wanted.
    fn write(&mut self, driver: &mut Driver) {
        let at = GuestAddress(self.queue.ring);
        self.memory.write_slice(&self.bytes[self.lap % 2], at).expect("the ring is in memory");
        self.lap += 1;
        again(driver, &mut self.queue);
    }
}

/// All of the ring belongs to the card again, and its interrupt is wanted.
fn again(driver: &mut Driver, queue: &mut Queue) {
    queue.posted = queue.posted.wrapping_add(queue.depth);
    driver.unmask(queue);
    driver.bench.write(queue.doorbell, queue.posted.into());
}

fn transmits(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("ena tx");
    let cases = [("60", BATCH, 60, 1), ("1514", BATCH, 1514, 1), ("9012 in 4", 256, 9012, 4)];
    for (name, depth, len, pieces) in cases {
        let frames = depth / pieces;
        group.throughput(Throughput::Elements(frames.into()));
        let mut driver = driver(60, Csum::Unknown);
        let mut queue = driver.create_tx(depth, 1);
        fill(&mut driver, &mut queue, len, pieces);
        let laps = Laps::new(queue, driver.bench.memory.clone(), 16);
        measure(&mut group, name, driver, laps, frames);
    }
    for len in [60, 1514] {
        group.throughput(Throughput::Elements(BATCH.into()));
        let mut driver = driver(60, Csum::Unknown);
        let mut queue = driver.create_llq(BATCH, 1);
        fill_entries(&mut driver, &mut queue, len);
        let window = driver.bench.machine.windows.window(0).memory().clone();
        let laps = Laps::new(queue, window, ENTRY);
        measure(&mut group, &format!("{len} low-latency"), driver, laps, BATCH);
    }
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, ThreadTime>;

fn measure(group: &mut Group<'_>, name: &str, mut driver: Driver, mut laps: Laps, frames: u16) {
    let mut turns = 0;
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        b.iter(|| {
            laps.write(&mut driver);
            driver.bench.settle();
            turns += 1;
        });
    });
    let sent = driver.bench.card.inspect().totals.get("tx_frames");
    assert_eq!(sent, Some(turns * u64::from(frames)), "frames were lost");
}

fn receives(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("ena rx");
    // Frames vouched for are what a TAP brings of a host's own TCP and of its network cards; others
    // are summed up, which a virtio driver would have to do itself.
    let cases = [
        ("60", 60, 1, Csum::Valid),
        ("1514", 1514, 1, Csum::Valid),
        ("9014 in 6", 9014, 6, Csum::Valid),
        ("60 summed", 60, 1, Csum::Unknown),
        ("1514 summed", 1514, 1, Csum::Unknown),
    ];
    for (name, len, buffers, csum) in cases {
        let frames = BATCH / buffers;
        group.throughput(Throughput::Elements(frames.into()));
        receive(&mut group, name, driver(len, csum), frames, buffers);
    }
    group.finish();
}

/// Measures frames that take so many buffers each.
fn receive(group: &mut Group<'_>, name: &str, mut driver: Driver, frames: u16, buffers: u16) {
    let mut queue = driver.create_rx(BATCH, 1);
    for id in 0..BATCH {
        driver.post_buffer(&mut queue, id, 1536);
    }
    // Only whole frames' worth at a time.
    let step = frames * buffers;
    queue.posted = 0;
    let mut turns = 0;
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        b.iter(|| {
            queue.posted = queue.posted.wrapping_add(step);
            driver.unmask(&queue);
            driver.bench.write(queue.doorbell, queue.posted.into());
            driver.bench.settle();
            turns += 1;
        });
    });
    let received = driver.bench.card.inspect().totals.get("rx_frames");
    assert_eq!(received, Some(turns * u64::from(frames)), "frames were lost");
}

/// Each frame out and in again, its bytes copied once on either way.
fn around(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("ena loopback");
    group.throughput(Throughput::Elements(BATCH.into()));
    for len in [60, 1514] {
        around_with(&mut group, &len.to_string(), len, &|_| {});
    }
    group.finish();
}

fn capture(card: &dyn NicControl, snap_len: u32) {
    let nowhere = File::create("/dev/null").expect("every Linux has it");
    let spec = CaptureSpec { snap_len, max_bytes: 1 << 40, ..CaptureSpec::default() };
    card.start_capture(nowhere, &spec).expect("a capture that can be");
}

type Look = fn(&dyn NicControl);

/// Ways to look on.
const LOOKS: [(&str, Look); 4] = [
    ("not", |_| {}),
    ("by latency", |card| card.measure_latency(true)),
    ("by headers", |card| capture(card, 128)),
    ("whole", |card| capture(card, 65_535)),
];

/// What looking on costs: latencies, headers captured, whole frames captured.
fn observed(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("ena observed");
    group.throughput(Throughput::Elements(BATCH.into()));
    for (how, look) in LOOKS {
        for len in [60, 1514] {
            around_with(&mut group, &format!("{len} {how}"), len, &look);
        }
    }
    for (how, look) in LOOKS {
        let mut driver = driver(60, Csum::Unknown);
        look(&*driver.bench.card);
        let mut queue = driver.create_tx(BATCH, 1);
        fill(&mut driver, &mut queue, 60, 1);
        let laps = Laps::new(queue, driver.bench.memory.clone(), 16);
        measure(&mut group, &format!("tx 60 {how}"), driver, laps, BATCH);
        let driver = self::driver(60, Csum::Valid);
        look(&*driver.bench.card);
        receive(&mut group, &format!("rx 60 {how}"), driver, BATCH, 1);
    }
    group.finish();
}

/// The same for frames sent to a TAP, a system call each, as in a machine.
fn observed_on_a_tap(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("ena tap");
    group.throughput(Throughput::Elements(BATCH.into()));
    for (how, look) in LOOKS {
        for len in [60, 1514] {
            let (tap, mut queues) = match open_by_name("ena-bench", 1, None) {
                Ok(opened) => opened,
                Err(error) => return println!("ena tap: not measured: {error}"),
            };
            let mut driver = driver_with(Box::new(tap), Box::new(queues.remove(0)));
            look(&*driver.bench.card);
            let mut queue = driver.create_tx(BATCH, 1);
            fill(&mut driver, &mut queue, len, 1);
            let mut laps = Laps::new(queue, driver.bench.memory.clone(), 16);
            let card = driver.bench.card.clone();
            let turns = Cell::new(0);
            group.bench_function(BenchmarkId::from_parameter(format!("tx {len} {how}")), |b| {
                let turn = |()| {
                    laps.write(&mut driver);
                    driver.bench.settle();
                    turns.set(turns.get() + 1);
                };
                let wait = || keep_up(&*card, turns.get() * u64::from(BATCH), len);
                b.iter_batched(wait, turn, BatchSize::PerIteration);
            });
            let sent = card.inspect().totals.get("tx_frames");
            assert_eq!(sent, Some(turns.get() * u64::from(BATCH)), "frames were lost");
            if let Some(capture) = card.stop_capture() {
                println!("captured {} frames, dropped {}", capture.frames, capture.dropped);
            }
        }
    }
    group.finish();
}

/// Waits, out of the measured time, until a capture's ring is half empty: a frame that finds no room
/// costs nothing.
fn keep_up(card: &dyn NicControl, frames: u64, len: u16) {
    let behind = |capture: &CaptureState| {
        let words = RECORD_WORDS + u64::from(capture.spec.snap_len.min(len.into()).div_ceil(8));
        frames.saturating_sub(capture.frames + capture.dropped) * words
    };
    while card.capture().is_some_and(|capture| behind(&capture) > RING_WORDS / 2) {
        std::thread::yield_now();
    }
}

/// Measures a driver with `look` that sends frames of `len` bytes to itself.
fn around_with(group: &mut Group<'_>, name: &str, len: u16, look: &dyn Fn(&dyn NicControl)) {
    let mut driver = driver_on(Box::new(loopback::Queue::new().expect("eventfd")));
    let (mut tx, mut rx) = (driver.create_tx(BATCH, 1), driver.create_rx(BATCH, 1));
    fill(&mut driver, &mut tx, len, 1);
    for id in 0..BATCH {
        driver.post_buffer(&mut rx, id, 2048);
    }
    rx.posted = 0;
    let mut tx = Laps::new(tx, driver.bench.memory.clone(), 16);
    look(&*driver.bench.card);
    let card = driver.bench.card.clone();
    let turns = Cell::new(0);
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        let turn = |()| {
            again(&mut driver, &mut rx);
            tx.write(&mut driver);
            driver.bench.settle();
            // The loopback's own wake.
            driver.bench.settle();
            turns.set(turns.get() + 1);
        };
        b.iter_batched(
            || keep_up(&*card, turns.get() * 2 * u64::from(BATCH), len),
            turn,
            BatchSize::PerIteration,
        );
    });
    let turns = turns.get();
    let totals = driver.bench.card.inspect().totals;
    let frames = turns * u64::from(BATCH);
    let passed = (totals.get("tx_frames"), totals.get("rx_frames"));
    assert_eq!(passed, (Some(frames), Some(frames)), "frames were lost");
    if let Some(capture) = driver.bench.card.stop_capture() {
        println!("captured {} frames, dropped {}", capture.frames, capture.dropped);
    }
}

criterion_group!(
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = transmits, receives, around, observed, observed_on_a_tap
);
criterion_main!(benches);

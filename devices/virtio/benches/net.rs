//! Frames through virtio-net, one lane on one core, against a backend that costs nothing.

#[path = "../../net/benches/thread_time.rs"]
mod thread_time;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use device_core::testing::{TestMachine, ram};
use device_core::worker::Threads;
use net::backend::null::Null;
use net::backend::script::stage;
use net::backend::{NetQueue, loopback};
use net::frame::Csum;
use net::port::NetPort;
use virtio::net::Net;
use virtio::testing::nic::{
    ABLE, CTRL, HASH_REPORT, INDIRECT, MAC, MQ, MRG_RXBUF, Nic, RSS, RX_OFFLOADS, TX_OFFLOADS,
};
use virtio::testing::ring::{readable, writable};

use thread_time::ThreadTime;

/// Frames between two looks of the driver.
const BATCH: u16 = 128;
/// The command that sets a table, and all types of hash there are.
const QUEUES: u8 = 4;
const RSS_CONFIG: u8 = 1;
const ALL_TYPES: u32 = 0x3f;

/// A card whose backend takes every frame and brings frames of `len` bytes without end, their
/// checksums known to be right.
fn nic(len: usize) -> Nic {
    nic_on(Box::new(Null::new(u64::MAX, len, Csum::Valid)), false)
}

/// With hashes the driver also asks for what ENA's always has: a table, and each frame's hash.
fn nic_on(queue: Box<dyn NetQueue>, hashes: bool) -> Nic {
    let mut machine = TestMachine::new(ram(0x200_0000));
    machine.threads = Threads::by_hand().expect("epoll");
    let (backend, _, _) = stage(1, ABLE).expect("eventfd");
    let port = NetPort::with_backend("bench", Box::new(backend), vec![queue], &machine.kit());
    let net = Net::on_port("bench", MAC, port.expect("no thread needed"), &machine.kit());
    let mut nic = Nic::of(machine, net, Vec::new(), 1, true);
    let features = INDIRECT | MRG_RXBUF | TX_OFFLOADS | RX_OFFLOADS;
    if !hashes {
        nic.start(features);
        return nic;
    }
    nic.start(features | CTRL | MQ | RSS | HASH_REPORT);
    let mut config = ALL_TYPES.to_le_bytes().to_vec();
    config.extend(127u16.to_le_bytes()); // the table's mask
    config.extend([0; 2 + 2 * 128]); // all to the one lane, and what has no hash too
    config.extend([1, 0, 40]); // pairs, bytes of the key
    config.extend([0x5a; 40]);
    assert_eq!(nic.command(QUEUES, RSS_CONFIG, &config), Some(0));
    nic
}

fn transmit(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("virtio-net tx");
    // A lane's turn ends after 1 MiB.
    let cases = [("60", BATCH, 60u32, 1), ("1514", BATCH, 1514, 2), ("64k in 17", 16, 65_000, 17)];
    for (name, batch, len, pieces) in cases {
        group.throughput(Throughput::Elements(batch.into()));
        let mut nic = nic(60);
        let (at, table) = (nic.buffer(0x2_0000), nic.buffer(0x1000));
        let mut chain = vec![readable(at, 12)];
        chain.extend((0..pieces).map(|piece| readable(at + 4096 * piece, len / pieces as u32)));
        let heads: Vec<u16> =
            (0..batch).map(|_| nic.pairs[0].tx.offer_indirect(table, &chain)).collect();
        nic.pairs[0].tx.kick();
        nic.settle();
        let mut turns = 1;
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                nic.pairs[0].tx.offer_heads(&heads);
                nic.pairs[0].tx.kick();
                nic.settle();
                turns += 1;
            });
        });
        assert_eq!(nic.total("tx_frames"), turns * u64::from(batch), "frames were lost");
    }
    group.finish();
}

fn receive(c: &mut Criterion<ThreadTime>) {
    receive_by("virtio-net rx", false, c);
    receive_by("virtio-net rx with hashes", true, c);
}

fn receive_by(name: &str, hashes: bool, c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group(name);
    for (name, len, buffers) in [("60", 60, 1), ("1514", 1514, 1), ("64k in 43", 65_000, 43)] {
        let mut nic = nic_on(Box::new(Null::new(u64::MAX, len, Csum::Valid)), hashes);
        let frames = BATCH / buffers;
        group.throughput(Throughput::Elements(frames.into()));
        let heads: Vec<u16> = (0..frames * buffers)
            .map(|_| {
                let at = nic.buffer(1536);
                nic.pairs[0].rx.offer(&[writable(at, 1536)])
            })
            .collect();
        nic.pairs[0].rx.kick();
        nic.settle();
        let mut turns = 1;
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                nic.pairs[0].rx.offer_heads(&heads);
                nic.pairs[0].rx.kick();
                nic.settle();
                turns += 1;
            });
        });
        assert_eq!(nic.total("rx_frames"), turns * u64::from(frames), "frames were lost");
    }
    group.finish();
}

/// Each frame out and in again, its bytes copied once on either way.
fn around(c: &mut Criterion<ThreadTime>) {
    around_by("virtio-net loopback", false, c);
    around_by("virtio-net loopback with hashes", true, c);
}

fn around_by(name: &str, hashes: bool, c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(BATCH.into()));
    for len in [60u32, 1514] {
        let mut nic = nic_on(Box::new(loopback::Queue::new().expect("eventfd")), hashes);
        let header = if hashes { 20 } else { 12 };
        let at = nic.buffer(header + len);
        let tx: Vec<u16> =
            (0..BATCH).map(|_| nic.pairs[0].tx.offer(&[readable(at, header + len)])).collect();
        let rx: Vec<u16> = (0..BATCH)
            .map(|_| {
                let at = nic.buffer(2048);
                nic.pairs[0].rx.offer(&[writable(at, 2048)])
            })
            .collect();
        let mut turns = 0;
        let mut turn = |nic: &mut Nic| {
            nic.pairs[0].rx.kick();
            nic.pairs[0].tx.kick();
            nic.settle();
            // The loopback's own wake.
            nic.settle();
            turns += 1;
            let frames = turns * u64::from(BATCH);
            assert_eq!((nic.total("tx_frames"), nic.total("rx_frames")), (frames, frames));
        };
        turn(&mut nic);
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                nic.pairs[0].rx.offer_heads(&rx);
                nic.pairs[0].tx.offer_heads(&tx);
                turn(&mut nic);
            });
        });
    }
    group.finish();
}

criterion_group!(
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = transmit, receive, around
);
criterion_main!(benches);

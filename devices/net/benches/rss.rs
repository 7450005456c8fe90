//! What receive-side scaling costs per frame: the hash of tuples, and the way from a frame to its
//! lane.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use net::rss::{Hasher, Key, Rss, Selection, Table, Toeplitz};

const KEY: Key = Key(*b"forty bytes of a key that nobody guesses");
const INPUTS: usize = 1024;

/// Inputs that differ in every byte, so that no row of the tables stays hot by itself.
fn inputs<const N: usize>() -> Vec<[u8; N]> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..INPUTS).map(|_| std::array::from_fn(|_| next())).collect()
}

fn tuples<const N: usize>(criterion: &mut Criterion, name: &str) {
    let toeplitz = Toeplitz::new(&KEY);
    let inputs = inputs::<N>();
    let mut group = criterion.benchmark_group("toeplitz");
    group.throughput(Throughput::Elements(INPUTS as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| inputs.iter().fold(0, |all, input| all ^ toeplitz.hash(black_box(input))));
    });
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let table = Table::spread(128, 8).expect("a table that can be");
    let hasher = Hasher::new(Rss { key: KEY, initial: 0, fields: Selection::all(), table });
    let mut group = criterion.benchmark_group("frame to lane");
    group.throughput(Throughput::Elements(INPUTS as u64));
    for (name, kind, first, at) in [("TCP over IPv4", 8, 0x45, 9), ("TCP over IPv6", 0x86, 0x60, 6)]
    {
        let mut frames = inputs::<128>();
        for frame in &mut frames {
            frame[12..15].copy_from_slice(&[kind, if kind == 8 { 0 } else { 0xdd }, first]);
            frame[20..22].fill(0);
            frame[14 + at] = 6;
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let lanes = frames.iter().map(|frame| hasher.lane(hasher.hash(black_box(frame))));
                lanes.fold(0, |all, lane| all ^ lane)
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    tuples::<12>(criterion, "12 bytes: IPv4 with ports");
    tuples::<36>(criterion, "36 bytes: IPv6 with ports");
    criterion.bench_function("tables of a key", |bencher| {
        bencher.iter(|| Toeplitz::new(black_box(&KEY)));
    });
    frames(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);

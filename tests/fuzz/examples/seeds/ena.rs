//! What drivers of an ENA card write: registers, admin commands, descriptors, and all of them.

use ena::testing::driver::{feature_command, transmit};

use crate::Seed;

const GET: u32 = 8;
const SET: u32 = 9;
/// Where nothing else is.
const BUFFER: u64 = 0x10_0000;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// One access to a register: which of the list it is, and the value.
fn access(register: u16, value: u32) -> Vec<u8> {
    let [r0, r1] = register.to_le_bytes();
    let [v0, v1, v2, v3] = value.to_le_bytes();
    // A width of 32 bits; the value in two halves, the upper one first.
    vec![2, r0, r1, 3, v2, v3, v0, v1, 0, 0, 0, 0, 0, 0, 0, 0]
}

pub fn registers() -> Vec<Seed> {
    let accesses = |list: &[(u16, u32)]| list.iter().flat_map(|&(r, v)| access(r, v)).collect();
    vec![
        ("reset", accesses(&[(16, 0xb000_0001), (16, 0), (16, 0x3100_0001), (16, 1)])),
        ("readless", accesses(&[(19, 0x8000), (20, 0), (18, 0x0058_0001), (18, 0xffff_0002)])),
        ("readless-outside", accesses(&[(19, 0x1ff_fffc), (18, 1), (19, 0), (20, 0x1000)])),
        ("admin-rings", accesses(&[(2, 0x8000), (4, 0x40_0020), (6, 0x9000), (8, 0x40_0020)])),
        ("admin-doorbell-far", accesses(&[(9, 33), (9, 0xffff), (9, 0)])),
        ("events", accesses(&[(11, 0xa000), (12, 0), (10, 0x40_0010), (13, 16), (13, 0x8000)])),
        ("interrupt-mask", accesses(&[(15, 1), (9, 1), (15, 0)])),
    ]
}

/// CREATE_CQ and CREATE_SQ of one queue.
fn queue(direction: u32, placement: u32, cq: u32, words: u32, depth: u32) -> Vec<u8> {
    let mut create_cq = [0; 16];
    create_cq[..4].copy_from_slice(&[3 << 16, 0x20 | words << 8 | depth << 16, 1, 0x10_0000]);
    let mut create_sq = [0; 16];
    let how = direction << 5 | placement << 16 | 1 << 24;
    create_sq[..4].copy_from_slice(&[1 << 16, how, cq | depth << 16, 0x11_0000]);
    [bytes(&create_cq), bytes(&create_sq)].concat()
}

pub fn commands() -> Vec<Seed> {
    let feature = |opcode, id, payload: &[u32], len| {
        bytes(&feature_command(opcode, id, 0, payload, BUFFER, len))
    };
    let gets = [1, 2, 3, 4, 7, 10, 11, 12, 18, 20, 26, 27];
    let stats = |kind: u32, len: u32| {
        let mut words = [0; 16];
        words[..7].copy_from_slice(&[11 << 16, len, BUFFER as u32, 0, kind, 0, 0x3f]);
        bytes(&words)
    };
    vec![
        ("features", gets.iter().flat_map(|id| feature(GET, *id, &[], 0)).collect()),
        ("hash", [feature(SET, 10, &[2, 1, u32::MAX], 48), feature(GET, 10, &[], 48)].concat()),
        ("table", [feature(SET, 12, &[0, 7, u32::MAX], 512), feature(GET, 12, &[], 512)].concat()),
        ("input", [feature(SET, 18, &[6 << 16], 256), feature(GET, 18, &[], 256)].concat()),
        ("mtu", [feature(SET, 14, &[9000], 0), feature(SET, 14, &[127], 0)].concat()),
        ("events", feature(SET, 26, &[0, 0xd9], 0)),
        ("llq", feature(SET, 4, &[0, 0, 1 << 16, 4 << 16, 2 << 16, 2 << 16, 0, 3, 0], 0)),
        ("statistics", [stats(0, 0), stats(2, 0), stats(4, 0), stats(4, 512)].concat()),
        ("transmit-queue", queue(1, 1, 0, 2, 256)),
        ("transmit-queue-in-card", queue(1, 3, 0, 4, 512)),
        ("receive-queue", queue(2, 1, 0, 8, 256)),
        ("too-many-queues", (0..5).flat_map(|cq| queue(2, 1, cq, 4, 2)).collect()),
    ]
}

pub fn rings() -> Vec<Seed> {
    let host = |words: [u32; 4]| [vec![0], bytes(&words)].concat();
    let receive = |words: [u32; 4]| [vec![2], bytes(&words)].concat();
    let llq = |words: &[[u32; 4]]| {
        let mut entry = bytes(words.as_flattened());
        entry.resize(128, 0x2a);
        [vec![1], entry].concat()
    };
    let plain = transmit(1, BUFFER, 60);
    // Metadata first, as Linux sends it for a checksum or for segments.
    let meta = [0x1d80_0000 | 1, 0x14_0e14, 0x0500_0000, 0];
    let [first, rest @ ..] = plain;
    let behind_meta = [first & !(1 << 26), rest[0], rest[1], rest[2]];
    let outside = transmit(2, 0x3ff_fff0, 1500);
    vec![
        ("transmit", host(plain)),
        ("transmit-with-metadata", [host(meta), host(behind_meta)].concat()),
        ("transmit-outside", [host(outside), host(plain)].concat()),
        ("transmit-in-card", llq(&[meta, behind_meta])),
        ("transmit-in-card-header-only", llq(&[plain, [0; 4]])),
        ("receive", (0..4).flat_map(|id| receive([128, id, 0x12_0000, 0])).collect()),
        ("receive-outside", receive([2048, 1, 0x1ff_ff00, 0])),
        ("receive-and-transmit", [receive([2048, 0, 0x12_0000, 0]), host(plain)].concat()),
    ]
}

/// Steps of a guest: the first byte says how far its driver has come.
pub fn card() -> Vec<Seed> {
    // A queue pair, a descriptor, its doorbell, an unmask, a turn of the lanes.
    let queues = [4, 0, 7, 2, 0, 0, 2, 0, 1, 4, 2, 7, 2, 0, 4, 2, 0, 5];
    let traffic = [5, 1, 2, 0, 1, 0x15, 1, 60, 0, 0, 0, 0, 7, 0, 1, 13, 1, 3, 0, 0x40, 19];
    let faults = [16, 0, 16, 2, 16, 5, 15, 0xff, 0xff];
    let resets = [18, 1, 18, 0, 17, 0, 17, 4, 17, 1];
    vec![
        ("queues", [&[3][..], &queues, &traffic].concat()),
        ("faults", [&[3][..], &queues, &faults, &traffic].concat()),
        ("resets", [&[2][..], &resets, &queues, &resets].concat()),
        ("no-driver", [&[0][..], &resets, &traffic].concat()),
        ("received", [&[3][..], &queues, &[11, 0, 60, 0, 12, 0, 14, 0, 19, 14, 1]].concat()),
    ]
}

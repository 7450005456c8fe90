//! What drivers of an NVMe controller write: registers, commands, and all of them.

use nvme::testing::driver::{blocks, command, set_command};

use crate::Seed;

/// Where nothing else is.
const BUFFER: u64 = 0x10_0000;
const ADMIN: u8 = 0;
const IO: u8 = 1;

/// One access to a word of registers: the value in two halves, the upper one first.
fn access(offset: u16, value: u32) -> Vec<u8> {
    let [r0, r1] = (offset / 4).to_le_bytes();
    let [v0, v1, v2, v3] = value.to_le_bytes();
    vec![0, r0, r1, 3, v2, v3, v0, v1, 0, 0, 0, 0, 0, 0, 0, 0]
}

pub fn registers() -> Vec<Seed> {
    let accesses = |list: &[(u16, u32)]| list.iter().flat_map(|&(r, v)| access(r, v)).collect();
    let (on, off) = (0x0046_0001, 0x0046_0000);
    vec![
        ("reset", accesses(&[(0x14, off), (0x14, on), (0x14, 0)])),
        ("shutdown", accesses(&[(0x14, on | 1 << 14), (0x14, on | 2 << 14), (0x14, on)])),
        ("impossible", accesses(&[(0x14, 0), (0x14, on | 0x70), (0x14, 0), (0x14, on | 0x80)])),
        ("queues", accesses(&[(0x14, 0), (0x24, 0), (0x14, on), (0x14, 0), (0x28, 0xffff_f000)])),
        ("doorbells", accesses(&[(0x1000, 1), (0x1004, 5), (0x1008, 7), (0x100c, 3), (0x1010, 9)])),
    ]
}

/// An entry of a queue: data at [`BUFFER`] and behind it.
fn entry(queue: u8, opcode: u8, namespace: u32, words: &[(usize, u32)]) -> Vec<u8> {
    let mut all = command(opcode, namespace, [BUFFER, BUFFER + 0x1000]);
    for &(at, word) in words {
        all[at] = word;
    }
    bytes(queue, all)
}

fn bytes(queue: u8, words: [u32; 16]) -> Vec<u8> {
    [[queue].as_slice(), words.map(u32::to_le_bytes).as_flattened()].concat()
}

pub fn commands() -> Vec<Seed> {
    let each = |opcode, values: &[u32]| {
        values.iter().flat_map(|value| entry(ADMIN, opcode, 1, &[(10, *value)])).collect()
    };
    let io = |opcode, count, flags| {
        bytes(IO, blocks(opcode, [BUFFER, BUFFER + 0x1000], 3, count, flags))
    };
    let queue = |id: u32| {
        let at = (10, id | 7 << 16);
        [
            entry(ADMIN, 5, 0, &[at, (11, 3 | id << 16)]),
            entry(ADMIN, 1, 0, &[at, (11, 1 | id << 16)]),
        ]
        .concat()
    };
    let ends = [entry(ADMIN, 0, 0, &[(10, 2)]), entry(ADMIN, 4, 0, &[(10, 2)])].concat();
    let log = |page: u32| entry(ADMIN, 2, u32::MAX, &[(10, page | 1023 << 16)]);
    let set = |which, value| bytes(ADMIN, set_command(which, value));
    let dataset = |count| entry(IO, 9, 1, &[(10, count), (11, 4)]);
    vec![
        ("identify", each(6, &[0, 1, 2, 3, 5, 6, 8])),
        ("get-features", each(0x0a, &[1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 14])),
        ("set-features", [set(7, 0x3_0003), set(6, 0), set(6, 1), set(11, 0x100)].concat()),
        ("logs", [1, 2, 3, 4, 5, 0xd0].into_iter().flat_map(log).collect()),
        ("log-of-4100-bytes", entry(ADMIN, 2, 1, &[(10, 0xd0 | 1024 << 16)])),
        ("queues", [queue(2), queue(3), ends].concat()),
        ("events", [entry(ADMIN, 0x0c, 0, &[]), entry(ADMIN, 0x0c, 0, &[])].concat()),
        ("abort", entry(ADMIN, 8, 0, &[(10, 1 | 0x100 << 16)])),
        ("doorbells", [entry(ADMIN, 0x7c, 0, &[]), io(2, 1, 0), io(2, 1, 0)].concat()),
        ("moves", [io(1, 8, 0), io(2, 8, 0), io(5, 8, 0), io(1, 16, 1 << 30)].concat()),
        ("lists", [io(2, 17, 0), io(2, 512, 0), io(2, 513, 0)].concat()),
        ("zeroes", [io(8, 0x1_0000, 1 << 25), io(8, 1, 0), dataset(0), dataset(255)].concat()),
        ("flush", [entry(IO, 0, 1, &[]), entry(IO, 0, u32::MAX, &[])].concat()),
        ("end", bytes(IO, blocks(2, [BUFFER, 0], u64::MAX, 1, 0))),
    ]
}

/// Steps of a guest: the first byte says how far its driver has come.
pub fn card() -> Vec<Seed> {
    // A read of three blocks from the first queue, and a turn of the lanes.
    let moves = [5, 0, 4, 16, 4, 17, 2, 0, 9, 0, 2, 200, 0, 15];
    let held = [10, 7, 0, 5, 1, 4, 16, 4, 17, 1, 0, 9, 0, 2, 200, 0, 15, 11];
    let resets = [13, 0, 12, 1, 12, 6, 12, 2, 13, 1];
    let faults = [12, 4, 2, 0, 12, 5, 12, 4, 2, 1, 12, 5, 10, 0, 10, 1];
    let doorbells = [8, 1, 0, 0, 9, 8, 2, 1, 0, 1, 14, 0, 15];
    vec![
        ("moves", [&[2][..], &moves, &moves].concat()),
        ("moves-by-memory", [&[3][..], &moves, &doorbells, &moves].concat()),
        ("held", [&[2][..], &held, &resets].concat()),
        ("faults", [&[2][..], &moves, &faults, &moves].concat()),
        ("resets", [&[1][..], &resets, &resets].concat()),
        ("no-driver", [&[0][..], &resets, &doorbells].concat()),
    ]
}

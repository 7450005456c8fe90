//! What drivers do with entropy, balloon, persistent memory and memory that is plugged, good ones and bad.

use device_core::bus::Width::{B1, B4, B8};
use fuzz::input::Output;
use fuzz::virtio_plain::{BUFFERS, HOT, Step};
use virtio::testing::balloon::{ALL, DEFLATE, HINT, INFLATE, REPORT, STATS};
use virtio::testing::memory::{PLUG, STATE, UNPLUG, UNPLUG_ALL, request};
use virtio::testing::ring::{Descriptor, INDIRECT, NEXT, WRITE};

use crate::Seed;

/// Numbers of the devices.
const ENTROPY: u8 = 0;
const BALLOON: u8 = 1;
const PMEM: u8 = 2;
const HOT_MEMORY: u8 = 3;

fn seed(name: &'static str, device: u8, steps: Vec<Vec<Step>>) -> Seed {
    let mut output = Output::default();
    output.u8(device);
    steps.iter().flatten().for_each(|step| step.write(&mut output));
    (name, output.0)
}

/// A chain of buffers at `BUFFERS` and behind, each as (address, length, flags), offered and kicked.
fn chain(queue: usize, first: u8, buffers: &[(u64, u32, u16)]) -> Vec<Step> {
    let queue = queue as u8;
    let mut steps = Vec::new();
    for (nth, (addr, len, flags)) in (first..).zip(buffers) {
        let is_last = usize::from(nth - first) + 1 == buffers.len();
        let (flags, next) = if is_last { (*flags, 0) } else { (flags | NEXT, u16::from(nth) + 1) };
        let descriptor = Descriptor { addr: *addr, len: *len, flags, next };
        steps.push(Step::Describe { queue, index: nth, descriptor });
    }
    steps.push(Step::Offer { queue, head: first.into() });
    steps.push(Step::Kick { queue });
    steps
}

fn write(at: u32, words: &[u32]) -> Vec<Step> {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![Step::WriteMemory { at, bytes }]
}

/// A request for memory's blocks at `BUFFERS`, offered and kicked as descriptors 0 and 1, with turns for all of it.
fn blocks(kind: u16, block: u32, count: u16) -> Vec<Step> {
    let address = u64::from(HOT) + (u64::from(block) << 21);
    let bytes = request(kind, address, count).to_vec();
    let at = u64::from(BUFFERS);
    let mut steps = vec![Step::WriteMemory { at: BUFFERS, bytes }];
    steps.extend(chain(0, 0, &[(at, 24, 0), (at + 64, 10, WRITE)]));
    steps.extend([Step::Kick { queue: 0 }, Step::Kick { queue: 0 }]);
    steps
}

pub fn all() -> Vec<Seed> {
    let at = u64::from(BUFFERS);
    let list = || write(BUFFERS, &[0x100, 0x102, 0x101, 0x3ff, 0x1000, u32::MAX]);
    vec![
        seed(
            "entropy",
            ENTROPY,
            vec![
                chain(0, 0, &[(at, 64, WRITE), (at + 128, 0x2_0000, WRITE)]),
                vec![Step::Pause],
                chain(0, 2, &[(at, 64, 0)]),
                vec![Step::Pause, Step::Start { features: 0, event_idx: true }],
                chain(0, 0, &[(0x1f_ffff, 2, WRITE), (0x40_0000, 0, WRITE)]),
            ],
        ),
        seed(
            "entropy-indirect-and-wild-index",
            ENTROPY,
            vec![
                vec![Step::Start { features: 1 << 28, event_idx: false }],
                chain(0, 0, &[(at, 32, INDIRECT)]),
                vec![Step::SetAvailable { queue: 0, index: 999 }, Step::Kick { queue: 0 }],
            ],
        ),
        seed(
            "balloon-pages",
            BALLOON,
            vec![
                list(),
                chain(INFLATE, 0, &[(at, 24, 0)]),
                chain(DEFLATE, 0, &[(at, 7, 0), (at + 7, 17, 0)]),
                vec![
                    Step::WriteConfig { offset: 4, width: B4, value: 6 },
                    Step::ReadConfig { offset: 0, width: B8 },
                    Step::Ask { what: 0, value: 512 },
                ],
            ],
        ),
        seed(
            "balloon-free-pages",
            BALLOON,
            vec![
                chain(REPORT, 0, &[(at, 0x1_0000, WRITE), (at + 0x2_0800, 0x2000, WRITE)]),
                vec![Step::Ask { what: 1, value: 1 }],
                write(BUFFERS, &[2, 0]),
                chain(HINT, 0, &[(at, 4, 0)]),
                chain(HINT, 1, &[(at + 0x1000, 0x4000, WRITE)]),
                chain(HINT, 2, &[(at + 4, 4, 0)]),
                vec![
                    Step::Ask { what: 2, value: 0 },
                    Step::WriteConfig { offset: 12, width: B4, value: 0xaaaa_aaaa },
                ],
                chain(REPORT, 2, &[(0x3f_f000, 0x8000_0000, WRITE)]),
            ],
        ),
        seed(
            "balloon-statistics",
            BALLOON,
            vec![
                write(BUFFERS, &[4, 0x1_0000, 0x50000, 9]),
                chain(STATS, 0, &[(at, 20, 0)]),
                vec![Step::Ask { what: 3, value: 9 }, Step::Pause, Step::Pause],
                chain(STATS, 1, &[(at, 0xa01, 0)]),
                vec![Step::Ask { what: 3, value: 1 }, Step::Kick { queue: STATS as u8 }],
            ],
        ),
        seed(
            "balloon-of-few-features",
            BALLOON,
            vec![
                vec![Step::Start { features: ALL & !(1 << 1), event_idx: false }],
                list(),
                chain(2, 0, &[(at, 4, 0)]),
                chain(3, 0, &[(at, 0x1000, WRITE)]),
                vec![Step::Ask { what: 4, value: 1 }],
                chain(INFLATE, 0, &[(at, 8, WRITE)]),
            ],
        ),
        seed(
            "pmem",
            PMEM,
            vec![
                write(BUFFERS, &[0, 1]),
                chain(0, 0, &[(at, 4, 0), (at + 64, 4, WRITE)]),
                chain(0, 2, &[(at + 4, 4, 0), (at + 64, 4, WRITE)]),
                chain(0, 4, &[(at, 4, 0), (0x3f_fffe, 4, WRITE)]),
                vec![Step::Ask { what: 0, value: 1 }],
                chain(0, 6, &[(at, 3, 0), (at + 64, 4, WRITE)]),
                vec![Step::ReadConfig { offset: 15, width: B1 }, Step::Pause, Step::Pause],
            ],
        ),
        seed(
            "memory",
            HOT_MEMORY,
            vec![
                blocks(PLUG, 1, 2),
                vec![Step::WriteMemory { at: HOT + (2 << 20), bytes: vec![7; 16] }],
                blocks(STATE, 0, 2),
                blocks(UNPLUG, 2, 1),
                vec![Step::Ask { what: 0, value: 16 }, Step::ReadConfig { offset: 40, width: B8 }],
                blocks(PLUG, 2, 6),
                vec![Step::Pause, Step::Pause],
                blocks(UNPLUG_ALL, 0, 0),
            ],
        ),
        seed(
            "memory-that-is-none",
            HOT_MEMORY,
            vec![
                blocks(PLUG, 7, 2),
                blocks(PLUG, 0, 4),
                vec![Step::Ask { what: 1, value: 0 }],
                blocks(PLUG, 0, 1),
                vec![Step::Ask { what: 1, value: 1 << 22 }, Step::Ask { what: 0, value: 4 }],
                blocks(PLUG, 0, 2),
                blocks(UNPLUG, u32::MAX >> 9, u16::MAX),
                chain(0, 2, &[(HOT.into(), 24, 0), (u64::from(HOT) + 64, 10, WRITE)]),
                chain(0, 4, &[(at, 25, 0), (at + 64, 9, WRITE)]),
                vec![Step::Start { features: 0, event_idx: true }],
                blocks(9, 0, 1),
            ],
        ),
    ]
}

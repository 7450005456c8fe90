//! What disk drivers do with their rings, good ones and bad.

use device_core::bus::Width::{B1, B4};
use fuzz::driver::{EVENT_IDX, INDIRECT};
use fuzz::input::Output;
use fuzz::ring_step::RingStep;
use fuzz::virtio_block::{Machine, SIZE, Step};
use virtio::testing::disk::{DISCARD, F_CONFIG_WCE, FLUSH, GET_ID, IN, OUT, USUAL, WRITE_ZEROES};
use virtio::testing::ring::{Descriptor, INDIRECT as TABLE, NEXT, WRITE};

use crate::Seed;

const ALL: u64 = USUAL | F_CONFIG_WCE | INDIRECT | EVENT_IDX;
/// In guest memory, behind what the machine uses for buffers.
const FREE: u32 = 0x3_0000;
const LAST: u32 = (SIZE / 512) as u32 - 1;

fn drive(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Seed {
    let mut machine = Machine::new();
    let mut output = Output::default();
    for step in steps {
        machine.apply(step.clone());
        step.write(&mut output);
    }
    (name, output.0)
}

fn start(features: u64) -> Step {
    Step::Ring(RingStep::Start { features, queues: 3 })
}

fn kick(queue: u8) -> [Step; 2] {
    [Step::Kick { queue }, Step::Settle]
}

fn request(kind: u32, sector: u32, len: u16) -> Step {
    Step::Request { queue: 0, kind: kind as u8, sector, len, shift: 0 }
}

fn shifted(kind: u32, sector: u32, len: u16, shift: u8) -> Step {
    Step::Request { queue: 1, kind: kind as u8, sector, len, shift }
}

fn ranges(kind: u32, ranges: &[(u64, u32, u32)]) -> Step {
    let mut bytes = Output::default();
    for (sector, count, flags) in ranges {
        bytes.u64(*sector).u32(*count).u32(*flags);
    }
    Step::Ranges { queue: 0, kind: kind as u8, ranges: bytes.0 }
}

fn host(event: u8, value: u16) -> Step {
    Step::Host { event, value }
}

fn describe(index: u16, addr: u32, len: u32, flags: u16, next: u16) -> Step {
    let descriptor = Descriptor { addr: addr.into(), len, flags, next };
    Step::Ring(RingStep::Describe { queue: 0, index, descriptor })
}

fn entry(addr: u32, len: u32, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = Output::default();
    bytes.u64(addr.into()).u32(len).u16(flags).u16(next);
    bytes.0
}

fn then(steps: &mut Vec<Step>, more: impl IntoIterator<Item = Step>) {
    steps.extend(more);
}

pub fn all() -> Vec<Seed> {
    vec![
        drive("plain", plain()),
        drive("ranges", all_ranges()),
        drive("host", troubled_host()),
        drive("life", lives()),
        drive("broken-chains", broken_chains()),
        drive("broken-rings", broken_rings()),
        drive("indirect", indirect()),
        drive("registers", registers()),
    ]
}

fn plain() -> Vec<Step> {
    let mut steps = vec![start(ALL)];
    for (kind, sector, len) in [
        (OUT, 0, 4096),
        (IN, 0, 4096),
        (OUT, LAST, 512),
        (IN, LAST, 1024),
        (FLUSH, 0, 0),
        (GET_ID, 0, 20),
        (GET_ID, 0, 19),
        (IN, 0, 511),
        (3, 0, 512),
    ] {
        then(&mut steps, [request(kind, sector, len)]);
        then(&mut steps, kick(0));
    }
    then(&mut steps, [shifted(OUT, 5, 1024, 1), shifted(IN, 5, 1024, 3), shifted(IN, 9, 512, 64)]);
    then(&mut steps, kick(1));
    steps
}

fn all_ranges() -> Vec<Step> {
    let mut steps = vec![start(ALL)];
    for kind in [DISCARD, WRITE_ZEROES] {
        for list in [
            &[(0, 8, 0)][..],
            &[(0, 8, 1), (16, 1, 1)],
            &[(0, 8, 0), (SIZE / 512, 1, 0)],
            &[(0, 0, 0)],
            &[(u64::MAX, u32::MAX, 2)],
            &[],
        ] {
            then(&mut steps, [ranges(kind, list)]);
        }
        then(&mut steps, kick(0));
    }
    steps
}

fn troubled_host() -> Vec<Step> {
    let mut steps = vec![start(ALL), host(0, 0)];
    then(&mut steps, [request(OUT, 0, 4096), request(IN, 8, 512), request(FLUSH, 0, 0)]);
    then(&mut steps, [request(FLUSH, 0, 0), shifted(OUT, 3, 512, 1)]);
    then(&mut steps, kick(0));
    then(&mut steps, kick(1));
    then(&mut steps, [host(3, 100), host(2, 1), Step::Settle, host(3, 513), host(2, 0)]);
    then(&mut steps, [Step::Settle, host(4, 4), host(4, 11), host(4, 5), host(2, 3)]);
    then(&mut steps, [Step::Settle, host(1, 0), Step::Settle, Step::Settle]);
    steps
}

fn lives() -> Vec<Step> {
    let mut steps = vec![start(ALL), host(0, 0), request(IN, 0, 512)];
    for event in [0, 0, 1, 1, 4, 5, 6, 3, 2] {
        then(&mut steps, kick(0));
        then(&mut steps, [Step::Life { event }, request(OUT, 1, 512), Step::Settle]);
    }
    then(&mut steps, [start(0), request(OUT, 1, 512)]);
    then(&mut steps, kick(0));
    steps
}

fn broken_chains() -> Vec<Step> {
    let mut steps = vec![start(ALL)];
    for (first, second) in [
        ((FREE, 16, NEXT, 1), (FREE, 512, 0, 0)),
        ((FREE, 16, WRITE | NEXT, 1), (FREE + 64, 1, WRITE, 0)),
        ((FREE, 15, NEXT, 1), (FREE + 64, 1, WRITE, 0)),
        ((FREE, 16, NEXT, 1), (FREE, 16, NEXT, 0)),
        ((FREE, 16, NEXT, 300), (0, 0, 0, 0)),
        ((FREE, 16, NEXT, 1), (0x4_0000, 1, WRITE, 0)),
        ((FREE, 16, NEXT, 1), (FREE, 513, WRITE, 0)),
        ((FREE, 16, NEXT | WRITE, 1), (FREE, 16, 0, 0)),
    ] {
        let of = |index, (addr, len, flags, next)| describe(index, addr, len, flags, next);
        then(
            &mut steps,
            [of(0, first), of(1, second), Step::Ring(RingStep::Offer { queue: 0, head: 0 })],
        );
        then(&mut steps, kick(0));
    }
    steps
}

fn broken_rings() -> Vec<Step> {
    let mut steps = vec![start(ALL), Step::Ring(RingStep::SetAvailable { queue: 0, index: 400 })];
    then(&mut steps, kick(0));
    then(&mut steps, [start(ALL), Step::Ring(RingStep::Offer { queue: 0, head: 256 })]);
    then(&mut steps, kick(0));
    let twice = [start(ALL), host(0, 0), request(IN, 0, 512)];
    then(&mut steps, twice);
    then(&mut steps, [Step::Ring(RingStep::Offer { queue: 0, head: 0 })]);
    then(&mut steps, kick(0));
    let place = Step::Ring(RingStep::Place {
        queue: 0,
        size: 16,
        descriptors: FREE,
        available: FREE + 0x400,
        used: FREE + 0x400,
    });
    then(&mut steps, [place, start(ALL), request(IN, 0, 512)]);
    then(&mut steps, kick(0));
    steps
}

fn indirect() -> Vec<Step> {
    let mut table = entry(FREE, 16, NEXT, 1);
    table.extend(entry(FREE + 0x400, 512, NEXT | WRITE, 2));
    table.extend(entry(FREE + 0x800, 1, WRITE, 0));
    let mut steps = vec![
        start(ALL),
        Step::Ring(RingStep::WriteMemory { address: FREE + 0x1000, bytes: table }),
    ];
    for (len, flags) in [(48, TABLE), (32, TABLE), (47, TABLE), (0, TABLE), (48, TABLE | NEXT)] {
        then(&mut steps, [describe(0, FREE + 0x1000, len, flags, 1)]);
        then(&mut steps, [Step::Ring(RingStep::Offer { queue: 0, head: 0 })]);
        then(&mut steps, kick(0));
    }
    steps
}

fn registers() -> Vec<Step> {
    let mut steps = vec![start(ALL)];
    for offset in [0, 8, 24, 32, 34, 56, 60, 255] {
        then(&mut steps, [Step::ReadDevice { offset, width: B4 }]);
        then(&mut steps, [Step::WriteDevice { offset, width: B1, value: 0 }]);
    }
    then(&mut steps, [request(OUT, 0, 512)]);
    then(&mut steps, kick(0));
    then(&mut steps, [Step::WriteRegister { offset: 0x14, width: B1, value: 0 }]);
    then(&mut steps, [Step::Ring(RingStep::SetEvent { queue: 0, flags: 1, event: 7 })]);
    steps
}

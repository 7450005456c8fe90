//! What network drivers do with their rings, good ones and bad.

use device_core::bus::Width::{B1, B2, B4};
use fuzz::driver::{EVENT_IDX, INDIRECT};
use fuzz::input::Output;
use fuzz::ring_step::RingStep;
use fuzz::virtio_net::{CTRL, MQ, MRG_RXBUF, Machine, Step};
use virtio::testing::nic::{GUEST_OFFLOADS, RX_OFFLOADS, TX_OFFLOADS};
use virtio::testing::ring::{Descriptor, INDIRECT as TABLE, NEXT, WRITE};

use crate::Seed;

const RX: u8 = 0;
const TX: u8 = 1;
const RX1: u8 = 2;
const TX1: u8 = 3;
const CONTROL: u8 = 4;
/// With one pair only.
const FIRST_CONTROL: u8 = 2;

const ALL: u64 =
    CTRL | MQ | MRG_RXBUF | GUEST_OFFLOADS | RX_OFFLOADS | TX_OFFLOADS | INDIRECT | EVENT_IDX;
const PLAIN: [u8; 12] = [0; 12];
/// In guest memory, behind what the machine uses for buffers.
const FREE: u32 = 0x3_0000;

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
    let queues = if features & MQ != 0 { 0x1f } else { 0x07 };
    Step::Ring(RingStep::Start { features, queues })
}

fn kick(queue: u8) -> [Step; 2] {
    [Step::Kick { queue }, Step::Settle]
}

fn send(header: [u8; 12], len: u16) -> Step {
    Step::Send { queue: TX, header, len }
}

fn post(count: u8, len: u16) -> Step {
    Step::Post { queue: RX, count, len }
}

fn bring(len: u16) -> Step {
    Step::Bring { lane: 0, kind: 0x1c, len, start: 0, offset: 0, segment: 0 }
}

fn describe(queue: u8, index: u16, addr: u32, len: u32, flags: u16, next: u16) -> Step {
    let descriptor = Descriptor { addr: addr.into(), len, flags, next };
    Step::Ring(RingStep::Describe { queue, index, descriptor })
}

fn command(queue: u8, class: u8, command: u8, data: &[u8]) -> Step {
    Step::Command { queue, class, command, data: data.to_vec() }
}

fn write(address: u32, bytes: &[u8]) -> Step {
    Step::Ring(RingStep::WriteMemory { address, bytes: bytes.to_vec() })
}

/// A descriptor as it lies in memory.
fn entry(addr: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = Output::default();
    bytes.u64(addr).u32(len).u16(flags).u16(next);
    bytes.0
}

/// A header that asks for segmentation of `kind`, with a checksum to complete.
fn gso(kind: u8, segment: u16) -> [u8; 12] {
    let [s0, s1] = segment.to_le_bytes();
    [1, kind, 54, 0, s0, s1, 34, 0, 16, 0, 0, 0]
}

pub fn all() -> Vec<Seed> {
    let mut seeds = transmit();
    seeds.extend(receive());
    seeds.extend(control());
    seeds.extend(life());
    seeds
}

fn with(steps: &[&[Step]]) -> Vec<Step> {
    steps.concat()
}

fn transmit() -> Vec<Seed> {
    let one = |features, step: Step| with(&[&[start(features), step], &kick(TX)]);
    let raw = |steps: &[Step]| with(&[&[start(ALL)], steps, &kick(TX)]);
    let offer = |head| Step::Ring(RingStep::Offer { queue: TX, head });
    vec![
        drive("send", one(0, send(PLAIN, 60))),
        drive("send-largest", one(ALL, send(PLAIN, u16::MAX))),
        drive("send-too-short", one(0, send(PLAIN, 13))),
        drive("send-checksum", one(ALL, send([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], 60))),
        drive("send-checksum-outside", one(ALL, send([1, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0], 60))),
        drive(
            "send-checksum-not-negotiated",
            one(0, send([1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0], 60)),
        ),
        drive("send-tso4", one(ALL, send(gso(1, 1448), 20_000))),
        drive("send-tso6-ecn", one(ALL, send(gso(0x84, 1440), 20_000))),
        drive("send-uso", one(ALL, send(gso(5, 1472), 20_000))),
        drive("send-no-segment", one(ALL, send(gso(1, 0), 2000))),
        drive("send-unknown-segmentation", one(ALL, send(gso(3, 1448), 2000))),
        drive(
            "send-many",
            with(&[
                &[start(EVENT_IDX)],
                &[const { Step::Send { queue: TX, header: PLAIN, len: 60 } }; 40],
                &kick(TX),
                &[Step::Ring(RingStep::SetEvent { queue: TX, flags: 0, event: 45 })],
                &[const { Step::Send { queue: TX, header: PLAIN, len: 60 } }; 10],
                &kick(TX),
            ]),
        ),
        drive(
            "send-without-interrupts",
            with(&[
                &[
                    start(0),
                    Step::Ring(RingStep::SetEvent { queue: TX, flags: 1, event: 0 }),
                    send(PLAIN, 60),
                ],
                &kick(TX),
            ]),
        ),
        drive(
            "send-in-pieces",
            raw(&[
                describe(TX, 0, FREE, 12, NEXT, 1),
                describe(TX, 1, FREE + 0x100, 20, NEXT, 7),
                describe(TX, 7, 0x8_0000, 500, 0, 0),
                offer(0),
            ]),
        ),
        drive(
            "send-indirect",
            raw(&[
                write(FREE, &entry(FREE as u64 + 0x400, 12, NEXT, 1)),
                write(FREE + 16, &entry(FREE as u64 + 0x500, 600, 0, 0)),
                describe(TX, 0, FREE, 32, TABLE, 0),
                offer(0),
            ]),
        ),
        drive(
            "send-indirect-in-indirect",
            raw(&[
                write(FREE, &entry(FREE.into(), 16, TABLE, 0)),
                describe(TX, 0, FREE, 16, TABLE, 0),
                offer(0),
            ]),
        ),
        drive("send-indirect-of-odd-length", raw(&[describe(TX, 0, FREE, 17, TABLE, 0), offer(0)])),
        drive(
            "send-loop",
            raw(&[
                describe(TX, 0, FREE, 64, NEXT, 1),
                describe(TX, 1, FREE, 64, NEXT, 0),
                offer(0),
            ]),
        ),
        drive("send-from-the-hole", raw(&[describe(TX, 0, 0x4_0000 - 32, 64, 0, 0), offer(0)])),
        drive(
            "send-from-nowhere",
            raw(&[describe(TX, 0, 0xffff_fff0, 0xffff_ffff, 0, 0), offer(0)]),
        ),
        drive(
            "send-more-than-there-is",
            raw(&[
                describe(TX, 0, FREE, 0xffff_0000, NEXT, 1),
                describe(TX, 1, FREE, 0xffff_0000, 0, 0),
                offer(0),
            ]),
        ),
        drive(
            "send-from-what-is-to-be-written",
            raw(&[describe(TX, 0, FREE, 64, WRITE, 0), offer(0)]),
        ),
        drive("send-next-past-the-table", raw(&[describe(TX, 0, FREE, 64, NEXT, 256), offer(0)])),
        drive("send-head-past-the-table", raw(&[offer(256)])),
        drive(
            "send-wild-index",
            raw(&[Step::Ring(RingStep::SetAvailable { queue: TX, index: 300 })]),
        ),
        drive(
            "send-changed-on-the-way",
            with(&[
                &[start(ALL), send(gso(1, 100), 2000)],
                &[
                    Step::Meddle { lane: 0, address: 0x1_0000, bytes: vec![0xff; 64] },
                    Step::Meddle { lane: 0, address: 0x4000, bytes: entry(u64::MAX, 9, 0, 0) },
                    send(PLAIN, 200),
                ],
                &kick(TX),
            ]),
        ),
        drive(
            "send-used-ring-over-available",
            with(&[
                &[Step::Ring(RingStep::Place {
                    queue: TX,
                    size: 8,
                    descriptors: 0x4000,
                    available: 0x5000,
                    used: 0x5000,
                })],
                &[start(0), send(PLAIN, 60)],
                &kick(TX),
                &kick(TX),
            ]),
        ),
        drive(
            "send-blocked",
            with(&[
                &[start(0), Step::Backend { event: 0 }, send(PLAIN, 60), send(PLAIN, 61)],
                &kick(TX),
                &[Step::Backend { event: 1 }, Step::Settle],
            ]),
        ),
        drive(
            "send-refused",
            with(&[
                &[start(0), Step::Backend { event: 2 }, Step::Backend { event: 3 }],
                &[send(PLAIN, 60), send(PLAIN, 61), send(PLAIN, 62)],
                &kick(TX),
            ]),
        ),
        drive(
            "send-on-the-second-pair",
            with(&[&[start(ALL), Step::Send { queue: TX1, header: PLAIN, len: 99 }], &kick(TX1)]),
        ),
    ]
}

fn receive() -> Vec<Seed> {
    let one = |features, room: Step, frame: Step| {
        with(&[&[start(features), room], &kick(RX), &[frame, Step::Settle]])
    };
    let meta = |kind, len, start, offset, segment| Step::Bring {
        lane: 0,
        kind,
        len,
        start,
        offset,
        segment,
    };
    vec![
        drive("receive", one(0, post(4, 1526), bring(60))),
        drive("receive-merged", one(MRG_RXBUF, post(40, 1536), bring(20_000))),
        drive("receive-larger-than-a-buffer", one(0, post(4, 200), bring(1500))),
        drive(
            "receive-then-post",
            with(&[
                &[start(MRG_RXBUF | EVENT_IDX), bring(9000), Step::Settle, post(2, 2048)],
                &kick(RX),
                &[post(20, 2048)],
                &kick(RX),
                &[bring(60), bring(1500), Step::Settle],
            ]),
        ),
        drive("receive-segments", one(ALL, post(40, 1536), meta(0x02, 9000, 34, 16, 1448))),
        drive("receive-udp-segments", one(ALL, post(40, 1536), meta(0x0a, 9000, 34, 6, 1472))),
        drive(
            "receive-segments-not-negotiated",
            one(MRG_RXBUF, post(40, 1536), meta(0x02, 9000, 34, 16, 1448)),
        ),
        drive("receive-checksum", one(ALL, post(4, 1536), meta(0x1e, 60, 34, 16, 0))),
        drive("receive-checked", one(ALL, post(4, 1536), meta(0x1d, 60, 0, 0, 0))),
        drive("receive-too-short", one(0, post(4, 1536), bring(13))),
        drive(
            "receive-many",
            with(&[
                &[start(EVENT_IDX | MRG_RXBUF), post(200, 256)],
                &kick(RX),
                &[const { Step::Bring { lane: 0, kind: 0x9c, len: 60, start: 0, offset: 0, segment: 0 } };
                    50],
                &[
                    Step::Settle,
                    Step::Ring(RingStep::SetEvent { queue: RX, flags: 0, event: 60 }),
                    bring(60),
                    Step::Settle,
                ],
            ]),
        ),
        drive(
            "receive-into-small-pieces",
            with(&[
                &[start(INDIRECT)],
                &[
                    describe(RX, 0, FREE, 12, WRITE | NEXT, 1),
                    describe(RX, 1, FREE + 64, 2, WRITE | NEXT, 2),
                ],
                &[
                    describe(RX, 2, 0x3_ff00, 0x100, WRITE | NEXT, 3),
                    describe(RX, 3, 0x8_0000, 1500, WRITE, 0),
                ],
                &[Step::Ring(RingStep::Offer { queue: RX, head: 0 })],
                &kick(RX),
                &[bring(1000), Step::Settle],
            ]),
        ),
        drive(
            "receive-into-what-is-to-be-read",
            with(&[
                &[
                    start(0),
                    describe(RX, 0, FREE, 1526, 0, 0),
                    Step::Ring(RingStep::Offer { queue: RX, head: 0 }),
                ],
                &kick(RX),
            ]),
        ),
        drive("receive-into-less-than-a-header", one(MRG_RXBUF, post(4, 11), bring(60))),
        drive(
            "receive-into-the-rings",
            with(&[
                &[start(MRG_RXBUF), describe(RX, 0, 0x1000, 0x3000, WRITE, 0)],
                &[
                    Step::Ring(RingStep::Offer { queue: RX, head: 0 }),
                    Step::Ring(RingStep::Offer { queue: RX, head: 0 }),
                ],
                &kick(RX),
                &[bring(9000), bring(60), Step::Settle, Step::Settle],
            ]),
        ),
        drive(
            "receive-errors",
            with(&[
                &[start(0), post(8, 1526), Step::Backend { event: 4 }],
                &[Step::Backend { event: 5 }, bring(60)],
                &kick(RX),
                &[bring(61), Step::Settle],
            ]),
        ),
        drive(
            "receive-pause",
            with(&[&[start(0), post(8, 1526), Step::Backend { event: 6 }, bring(60)], &kick(RX)]),
        ),
        drive(
            "backend-gone",
            with(&[
                &[start(CTRL), post(8, 1526), Step::Backend { event: 7 }, bring(60)],
                &kick(RX),
                &[Step::ReadDevice { offset: 6, width: B2 }],
            ]),
        ),
        drive(
            "backend-gone-on-send",
            with(&[
                &[start(0), Step::Backend { event: 8 }, send(PLAIN, 60), send(PLAIN, 60)],
                &kick(TX),
            ]),
        ),
        drive(
            "receive-on-the-second-pair",
            with(&[
                &[start(ALL), command(CONTROL, 4, 0, &[2, 0])],
                &kick(CONTROL),
                &[Step::Post { queue: RX1, count: 4, len: 1536 }],
                &kick(RX1),
                &[Step::Bring { lane: 1, kind: 0x1c, len: 70, start: 0, offset: 0, segment: 0 }],
                &[Step::Settle],
            ]),
        ),
    ]
}

fn control() -> Vec<Seed> {
    let run = |commands: &[Step]| with(&[&[start(ALL)], commands, &kick(CONTROL)]);
    let modes: Vec<Step> = (0..7).map(|mode| command(CONTROL, 0, mode, &[mode & 1])).collect();
    let table = [&[1, 0, 0, 0, 2, 0, 0, 0, 0, 9][..], &[1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1]].concat();
    let group = Step::Bring { lane: 0, kind: 0x5c, len: 60, start: 0, offset: 0, segment: 0 };
    vec![
        drive("control-modes", run(&modes)),
        drive(
            "control-filter",
            with(&[
                &[start(CTRL | MRG_RXBUF), post(8, 1526)],
                &[command(FIRST_CONTROL, 0, 0, &[0]), command(FIRST_CONTROL, 1, 0, &table)],
                &kick(FIRST_CONTROL),
                &kick(RX),
                &[group, bring(60), Step::Settle],
            ]),
        ),
        drive(
            "control-long-table",
            run(&[
                command(CONTROL, 1, 0, &[&[40, 0, 0, 0][..], &[2; 240], &[0; 4]].concat()),
                command(CONTROL, 1, 0, &[&[70, 0, 0, 0][..], &[2; 240]].concat()),
            ]),
        ),
        drive("control-wrapping-table", run(&[command(CONTROL, 1, 0, &[0xff; 16])])),
        drive(
            "control-address",
            run(&[
                command(CONTROL, 1, 1, &[2, 0, 0, 0, 0, 7]),
                command(CONTROL, 1, 1, &[3, 0, 0, 0, 0, 7]),
                command(CONTROL, 1, 1, &[2, 0]),
            ]),
        ),
        drive(
            "control-pairs",
            run(&[
                command(CONTROL, 4, 0, &[2, 0]),
                command(CONTROL, 4, 0, &[1, 0]),
                command(CONTROL, 4, 0, &[0, 0]),
                command(CONTROL, 4, 0, &[3, 0]),
            ]),
        ),
        drive(
            "control-offloads",
            run(&[
                command(CONTROL, 5, 0, &[2, 0, 0, 0, 0, 0, 0, 0]),
                command(CONTROL, 5, 0, &[0xff; 8]),
                command(CONTROL, 5, 0, &[0; 8]),
            ]),
        ),
        drive(
            "control-unknown",
            run(&[command(CONTROL, 9, 0, &[]), command(CONTROL, 0, 99, &[1])]),
        ),
        drive(
            "control-no-room-for-an-answer",
            run(&[
                describe(CONTROL, 0, FREE, 3, 0, 0),
                Step::Ring(RingStep::Offer { queue: CONTROL, head: 0 }),
            ]),
        ),
        drive(
            "control-no-command",
            run(&[
                describe(CONTROL, 0, FREE, 1, WRITE, 0),
                Step::Ring(RingStep::Offer { queue: CONTROL, head: 0 }),
            ]),
        ),
        drive(
            "control-bad-chain",
            run(&[
                describe(CONTROL, 0, FREE, 1, WRITE | NEXT, 1),
                describe(CONTROL, 1, FREE, 1, 0, 0),
                Step::Ring(RingStep::Offer { queue: CONTROL, head: 0 }),
            ]),
        ),
    ]
}

fn life() -> Vec<Seed> {
    let again = |event| {
        with(&[
            &[start(ALL), post(8, 1536), send(PLAIN, 60)],
            &kick(TX),
            &kick(RX),
            &[bring(60), Step::Life { event }, Step::Settle, send(PLAIN, 61)],
            &kick(TX),
            &[Step::Life { event }, Step::Settle, bring(62), Step::Settle],
        ])
    };
    vec![
        drive("stop-and-go-on", again(0)),
        drive("no-bus-master", again(1)),
        drive("reset-under-traffic", again(2)),
        drive("give-up-under-traffic", again(3)),
        drive(
            "stop-with-a-frame-on-hold",
            with(&[
                &[start(MRG_RXBUF), post(1, 256)],
                &kick(RX),
                &[bring(2000), Step::Settle, Step::Life { event: 0 }, Step::Life { event: 0 }],
                &[post(20, 256)],
                &kick(RX),
            ]),
        ),
        drive(
            "more-queues-than-negotiated",
            [Step::Ring(RingStep::Start { features: CTRL, queues: 0x1f })],
        ),
        drive(
            "small-rings",
            with(&[
                &[Step::Ring(RingStep::Place {
                    queue: TX,
                    size: 1,
                    descriptors: 0x4000,
                    available: 0x5000,
                    used: 0x6000,
                })],
                &[Step::Ring(RingStep::Place {
                    queue: RX,
                    size: 2,
                    descriptors: 0x8_0000,
                    available: 0x8_1000,
                    used: 0x8_2000,
                })],
                &[start(MRG_RXBUF), send(PLAIN, 60), post(2, 1600)],
                &kick(TX),
                &kick(RX),
                &[bring(60), bring(61), Step::Settle, send(PLAIN, 61)],
                &kick(TX),
            ]),
        ),
        drive(
            "registers",
            [
                Step::WriteRegister { offset: 0x16, width: B2, value: 1 },
                Step::WriteRegister { offset: 0x14, width: B1, value: 3 },
                Step::WriteRegister { offset: 0x20, width: B4, value: 0x1000 },
                Step::ReadDevice { offset: 0, width: B4 },
                Step::ReadDevice { offset: 16, width: B1 },
                Step::ReadDevice { offset: 100, width: B4 },
            ],
        ),
    ]
}

//! What vsock drivers and their peers on the host do, good ones and bad.

use fuzz::input::Output;
use fuzz::virtio_vsock::{LISTENS, Machine, Packet, Step};
use virtio::testing::ring::{Descriptor, NEXT, WRITE};
use virtio::vsock::Op;

use crate::Seed;

fn drive(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Seed {
    let mut machine = Machine::new();
    let mut output = Output::default();
    for step in steps {
        machine.apply(step.clone());
        step.write(&mut output);
    }
    (name, output.0)
}

/// A driver with buffers.
fn start() -> Vec<Step> {
    let post = |queue, len| Step::Post { queue, count: 16, len };
    vec![Step::Start { features: 3 }, post(0, 4096), post(0, 300), post(2, 4), Step::Settle]
}

/// A packet of the guest's port 7 to who listens.
fn to_listener(op: Op, len: u16) -> Packet {
    Packet::new(op as u8, 7, LISTENS, false, len)
}

/// A packet of the guest's port 52 to the first client.
fn to_client(op: Op, len: u16) -> Packet {
    Packet::new(op as u8, 52, 0, true, len)
}

fn client(event: u8, value: u16) -> Step {
    Step::Client { event, value }
}

fn listener(event: u8, value: u16) -> Step {
    Step::Listener { event, value }
}

fn sent(packet: Packet) -> [Step; 2] {
    [Step::Packet(packet), Step::Settle]
}

/// A client and the guest that has accepted him.
fn connected() -> Vec<Step> {
    let mut steps = start();
    steps.extend([client(0, 52 << 1), Step::Settle]);
    steps.extend(sent(to_client(Op::Response, 0)));
    steps
}

/// The guest and who listens, who has accepted it.
fn accepted() -> Vec<Step> {
    let mut steps = start();
    steps.extend(sent(to_listener(Op::Request, 0)));
    steps.push(listener(0, 0));
    steps
}

pub fn all() -> Vec<Seed> {
    vec![
        drive("client", by_client()),
        drive("guest", by_guest()),
        drive("ends", ends()),
        drive("stalled", stalled()),
        drive("odd-packets", odd_packets()),
        drive("lives", lives()),
        drive("broken-chains", broken_chains()),
        drive("floods", floods()),
    ]
}

fn by_client() -> Vec<Step> {
    let mut steps = connected();
    steps.extend([client(1, 5000), Step::Settle, client(1, 60_000), Step::Settle]);
    steps.extend(sent(Packet { passed_on: 5000, ..to_client(Op::CreditUpdate, 0) }));
    steps.extend(sent(to_client(Op::Data, 4000)));
    steps.extend([client(2, 5000), client(0, 53 << 1 | 1), Step::Settle, client(5, 1)]);
    steps.extend([Step::Settle, client(3, 0), Step::Settle]);
    steps.extend(sent(Packet { flags: 3, ..to_client(Op::Shutdown, 0) }));
    steps
}

fn by_guest() -> Vec<Step> {
    let mut steps = accepted();
    steps.extend(sent(to_listener(Op::Data, 10_000)));
    steps.extend([listener(2, 10_000), listener(1, 300), Step::Settle]);
    steps.extend(sent(to_listener(Op::CreditRequest, 0)));
    steps.extend(sent(Packet { host: 1, ..to_listener(Op::Request, 0) }));
    steps.extend(sent(to_listener(Op::Reset, 0)));
    steps
}

fn ends() -> Vec<Step> {
    let mut steps = connected();
    for flags in [1, 2] {
        steps.extend(sent(Packet { flags, ..to_client(Op::Shutdown, 0) }));
        steps.extend([client(1, 100), client(2, 100), Step::Settle]);
    }
    steps.extend(accepted());
    steps.extend([listener(3, 0), Step::Settle, listener(4, 0)]);
    steps.extend(sent(to_listener(Op::Data, 100)));
    steps.extend([listener(5, 0), Step::Settle, Step::Life { event: 2 }, Step::Settle]);
    steps
}

fn stalled() -> Vec<Step> {
    let mut steps = accepted();
    for _ in 0..12 {
        steps.extend(sent(to_listener(Op::Data, 50_000)));
    }
    steps.extend(sent(Packet { flags: 3, ..to_listener(Op::Shutdown, 0) }));
    steps.extend([listener(2, 60_000), Step::Settle, Step::Life { event: 3 }, Step::Settle]);
    steps
}

fn odd_packets() -> Vec<Step> {
    let mut steps = connected();
    let data = to_client(Op::Data, 10);
    for packet in [
        Packet { kind: 2, ..data },
        Packet { from: 1, ..data },
        Packet { to: 1, ..data },
        Packet { room: 0, passed_on: u32::MAX, ..data },
        Packet { op: 9, ..data },
        Packet { lie: 1, ..to_client(Op::Data, 10) },
        Packet { op: 0, ..data },
    ] {
        steps.extend(sent(packet));
    }
    for op in [Op::Request, Op::Response, Op::Shutdown, Op::CreditUpdate, Op::CreditRequest] {
        steps.extend(sent(Packet { port: 99, ..to_client(op, 0) }));
    }
    steps
}

fn lives() -> Vec<Step> {
    let mut steps = connected();
    for event in [0, 0, 1, 2, 3, 4] {
        steps.extend([client(1, 50), Step::Life { event }, Step::Settle]);
        steps.extend(sent(to_client(Op::Data, 10)));
    }
    steps.extend(start());
    steps.extend([Step::Life { event: 1 }, Step::Settle, client(0, 52 << 1), Step::Settle]);
    steps.extend([Step::Post { queue: 2, count: 1, len: 4 }, Step::Settle]);
    steps
}

fn broken_chains() -> Vec<Step> {
    let mut steps = Vec::new();
    let chains = [
        (0, 0x7_0000, 43, WRITE),
        (0, 0x7_0000, 44, 0),
        (0, 0x7_fff0, 64, WRITE),
        (1, 0x7_0000, 43, 0),
        (1, 0x7_0000, 44, WRITE),
        (1, 0x9_0000, 44, 0),
        (1, 0x7_0000, 44, NEXT),
        (2, 0x7_0000, 3, WRITE),
        (2, 0x9_0000, 4, WRITE),
    ];
    for (queue, addr, len, flags) in chains {
        steps.push(Step::Start { features: 0 });
        steps.push(Step::Packet(to_listener(Op::Data, 0)));
        let descriptor = Descriptor { addr, len, flags, next: 200 };
        steps.push(Step::Describe { queue, index: 200, descriptor });
        steps.extend([Step::Offer { queue, head: 200 }, Step::Life { event: 1 }, Step::Settle]);
    }
    for queue in 0..3 {
        steps.push(Step::Start { features: 1 });
        steps.extend([Step::SetAvailable { queue, index: 400 }, Step::Settle]);
    }
    steps
}

fn floods() -> Vec<Step> {
    let mut steps = vec![Step::Start { features: 1 }];
    for port in 0..100 {
        steps.push(Step::Packet(Packet { port, ..to_listener(Op::Request, 0) }));
    }
    steps.push(Step::Settle);
    for port in 0..100 {
        steps.push(Step::Packet(Packet { port, ..to_client(Op::Data, 0) }));
    }
    steps.extend([Step::Settle, Step::Post { queue: 0, count: 16, len: 64 }, Step::Settle]);
    steps
}

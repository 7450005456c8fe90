//! Steps of the vsock's machine, and their bytes.

use virtio::testing::ring::Descriptor;

use super::QUEUES;
use crate::input::{Input, Output};

/// One thing that happens to the vsock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reset to DRIVER_OK with fresh rings, with EVENT_IDX and indirect tables or not.
    Start {
        features: u8,
    },
    Describe {
        queue: u8,
        index: u16,
        descriptor: Descriptor,
    },
    /// Puts a head on the available ring and shows it.
    Offer {
        queue: u8,
        head: u16,
    },
    SetAvailable {
        queue: u8,
        index: u16,
    },
    WriteMemory {
        address: u32,
        bytes: Vec<u8>,
    },
    Settle,
    /// Buffers of this length to receive, or for events.
    Post {
        queue: u8,
        count: u8,
        len: u16,
    },
    Packet(Packet),
    /// What a client of the socket does; see [`super::Machine::play`].
    Client {
        event: u8,
        value: u16,
    },
    /// What who listens for the guest does; see [`super::Machine::listen`].
    Listener {
        event: u8,
        value: u16,
    },
    /// Owner, driver and time; see [`super::Machine::live`].
    Life {
        event: u8,
    },
}

/// A packet as a driver writes it, but for what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub op: u8,
    /// Of the guest.
    pub port: u8,
    /// Of the host: counted from the first that it gives to clients if `of_client`, else as it is.
    pub host: u8,
    pub of_client: bool,
    /// Bytes of data, and how many the header says beyond them.
    pub len: u16,
    pub lie: u8,
    pub flags: u8,
    pub kind: u8,
    /// Added to the right addresses.
    pub from: u8,
    pub to: u8,
    pub room: u32,
    pub passed_on: u32,
}

impl Packet {
    /// One that is as it should be.
    pub fn new(op: u8, port: u8, host: u8, of_client: bool, len: u16) -> Packet {
        let (lie, flags, from, to, passed_on) = (0, 0, 0, 0, 0);
        Packet {
            op,
            port,
            host,
            of_client,
            len,
            lie,
            flags,
            kind: 1,
            from,
            to,
            room: 1 << 18,
            passed_on,
        }
    }
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let queue = (kind >> 5) % QUEUES as u8;
        Some(match kind & 0x1f {
            0 => Step::Start { features: input.u8()? },
            1 => Step::Describe {
                queue,
                index: input.u16()?,
                descriptor: Descriptor {
                    addr: i64::from(input.u32()?.cast_signed()).cast_unsigned(),
                    len: input.u32()?,
                    flags: input.u16()?,
                    next: input.u16()?,
                },
            },
            2 => Step::Offer { queue, head: input.u16()? },
            3 => Step::SetAvailable { queue, index: input.u16()? },
            4 => {
                let (address, count) = (input.u32()?, input.u8()?);
                Step::WriteMemory { address, bytes: input.bytes(count.into()).to_vec() }
            }
            5 => Step::Settle,
            6 => Step::Post { queue, count: input.u8()?, len: input.u16()? },
            7 => Step::Client { event: input.u8()?, value: input.u16()? },
            8 => Step::Listener { event: input.u8()?, value: input.u16()? },
            9 => Step::Life { event: input.u8()? },
            _ => Step::Packet(Packet {
                op: input.u8()?,
                port: input.u8()?,
                host: input.u8()?,
                of_client: input.u8()? & 1 != 0,
                len: input.u16()?,
                lie: input.u8()?,
                flags: input.u8()?,
                kind: input.u8()?,
                from: input.u8()?,
                to: input.u8()?,
                room: input.u32()?,
                passed_on: input.u32()?,
            }),
        })
    }

    /// As [`Step::read`] reads it.
    pub fn write(&self, output: &mut Output) {
        let mut head = |kind: u8, queue: u8| {
            output.u8(kind | queue << 5);
        };
        match self {
            Step::Start { features } => {
                head(0, 0);
                output.u8(*features);
            }
            Step::Describe { queue, index, descriptor } => {
                head(1, *queue);
                let Descriptor { addr, len, flags, next } = *descriptor;
                output.u16(*index).u32(addr as u32).u32(len).u16(flags).u16(next);
            }
            Step::Offer { queue, head: at } => {
                head(2, *queue);
                output.u16(*at);
            }
            Step::SetAvailable { queue, index } => {
                head(3, *queue);
                output.u16(*index);
            }
            Step::WriteMemory { address, bytes } => {
                head(4, 0);
                output.u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Settle => head(5, 0),
            Step::Post { queue, count, len } => {
                head(6, *queue);
                output.u8(*count).u16(*len);
            }
            Step::Client { event, value } => {
                head(7, 0);
                output.u8(*event).u16(*value);
            }
            Step::Listener { event, value } => {
                head(8, 0);
                output.u8(*event).u16(*value);
            }
            Step::Life { event } => {
                head(9, 0);
                output.u8(*event);
            }
            Step::Packet(packet) => {
                head(10, 0);
                let Packet { op, port, host, of_client, len, lie, flags, kind, from, to, .. } =
                    *packet;
                output.u8(op).u8(port).u8(host).u8(of_client.into()).u16(len).u8(lie);
                output.u8(flags).u8(kind).u8(from).u8(to);
                output.u32(packet.room).u32(packet.passed_on);
            }
        }
    }
}

//! Steps of the network card's machine, and their bytes.

use device_core::bus::Width;
use virtio::testing::ring::Descriptor;

use super::{PAIRS, QUEUES};
use crate::input::{Input, Output, width, width_bits};

/// One thing that happens to the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Where and how large a queue is from the next `Start` on.
    Place {
        queue: u8,
        size: u16,
        descriptors: u32,
        available: u32,
        used: u32,
    },
    /// Reset to DRIVER_OK with these features, as far as offered, and the queues of this set.
    Start {
        features: u64,
        queues: u8,
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
    /// What the driver says about interrupts: the flags and the event field.
    SetEvent {
        queue: u8,
        flags: u16,
        event: u16,
    },
    WriteMemory {
        address: u32,
        bytes: Vec<u8>,
    },
    /// The same, but while the next frame is on its way.
    Meddle {
        lane: u8,
        address: u32,
        bytes: Vec<u8>,
    },
    Kick {
        queue: u8,
    },
    Settle,
    /// A frame behind a header, in one buffer.
    Send {
        queue: u8,
        header: [u8; 12],
        len: u16,
    },
    /// Receive buffers.
    Post {
        queue: u8,
        count: u8,
        len: u16,
    },
    Command {
        queue: u8,
        class: u8,
        command: u8,
        data: Vec<u8>,
    },
    /// A frame comes from the host.
    Bring {
        lane: u8,
        kind: u8,
        len: u16,
        start: u16,
        offset: u16,
        segment: u16,
    },
    /// What lane 0's backend does from now on, or to the next frame; see [`Machine::play`].
    Backend {
        event: u8,
    },
    /// Owner and driver; see [`Machine::live`].
    Life {
        event: u8,
    },
    WriteRegister {
        offset: u8,
        width: Width,
        value: u32,
    },
    ReadDevice {
        offset: u8,
        width: Width,
    },
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let queue = (kind >> 5) % QUEUES as u8;
        let lane = queue % PAIRS as u8;
        Some(match kind & 0x1f {
            0 => Step::Place {
                queue,
                size: input.u16()?,
                descriptors: input.u32()?,
                available: input.u32()?,
                used: input.u32()?,
            },
            1 => Step::Start { features: input.u64()?, queues: input.u8()? },
            2 => Step::Describe {
                queue,
                index: input.u16()?,
                descriptor: Descriptor {
                    addr: i64::from(input.u32()?.cast_signed()).cast_unsigned(),
                    len: input.u32()?,
                    flags: input.u16()?,
                    next: input.u16()?,
                },
            },
            3 => Step::Offer { queue, head: input.u16()? },
            4 => Step::SetAvailable { queue, index: input.u16()? },
            5 => Step::SetEvent { queue, flags: input.u16()?, event: input.u16()? },
            6 => Step::WriteMemory { address: input.u32()?, bytes: short_bytes(input)? },
            7 => Step::Meddle { lane, address: input.u32()?, bytes: short_bytes(input)? },
            8 => Step::Kick { queue },
            9 => Step::Settle,
            10 => Step::Send { queue, header: input.array()?, len: input.u16()? },
            11 => Step::Post { queue, count: input.u8()?, len: input.u16()? },
            12 => Step::Command {
                queue,
                class: input.u8()?,
                command: input.u8()?,
                data: short_bytes(input)?,
            },
            13 => Step::Bring {
                lane,
                kind: input.u8()?,
                len: input.u16()?,
                start: input.u16()?,
                offset: input.u16()?,
                segment: input.u16()?,
            },
            14 => Step::Backend { event: input.u8()? },
            15 => Step::Life { event: input.u8()? },
            16 => Step::WriteRegister {
                width: width(queue),
                offset: input.u8()?,
                value: input.u32()?,
            },
            17 => Step::ReadDevice { width: width(queue), offset: input.u8()? },
            _ => Step::Settle,
        })
    }

    pub fn write(&self, output: &mut Output) {
        match self {
            Step::Place { queue, size, descriptors, available, used } => {
                head(output, 0, *queue).u16(*size).u32(*descriptors).u32(*available).u32(*used);
            }
            Step::Start { features, queues } => {
                head(output, 1, 0).u64(*features).u8(*queues);
            }
            Step::Describe { queue, index, descriptor: Descriptor { addr, len, flags, next } } => {
                head(output, 2, *queue)
                    .u16(*index)
                    .u32(*addr as u32)
                    .u32(*len)
                    .u16(*flags)
                    .u16(*next);
            }
            Step::Offer { queue, head: first } => {
                head(output, 3, *queue).u16(*first);
            }
            Step::SetAvailable { queue, index } => {
                head(output, 4, *queue).u16(*index);
            }
            Step::SetEvent { queue, flags, event } => {
                head(output, 5, *queue).u16(*flags).u16(*event);
            }
            Step::WriteMemory { address, bytes } => {
                head(output, 6, 0).u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Meddle { lane, address, bytes } => {
                head(output, 7, *lane).u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Kick { queue } => {
                head(output, 8, *queue);
            }
            Step::Settle => {
                head(output, 9, 0);
            }
            Step::Send { queue, header, len } => {
                head(output, 10, *queue).bytes(header).u16(*len);
            }
            Step::Post { queue, count, len } => {
                head(output, 11, *queue).u8(*count).u16(*len);
            }
            Step::Command { queue, class, command, data } => {
                head(output, 12, *queue).u8(*class).u8(*command).u8(data.len() as u8).bytes(data);
            }
            Step::Bring { lane, kind, len, start, offset, segment } => {
                head(output, 13, *lane).u8(*kind).u16(*len).u16(*start).u16(*offset).u16(*segment);
            }
            Step::Backend { event } => {
                head(output, 14, 0).u8(*event);
            }
            Step::Life { event } => {
                head(output, 15, 0).u8(*event);
            }
            Step::WriteRegister { offset, width, value } => {
                head(output, 16, width_bits(*width)).u8(*offset).u32(*value);
            }
            Step::ReadDevice { offset, width } => {
                head(output, 17, width_bits(*width)).u8(*offset);
            }
        }
    }
}

/// The byte of a step's kind, with a queue, lane or width.
fn head(output: &mut Output, kind: u8, high: u8) -> &mut Output {
    output.u8(kind | high << 5)
}

fn short_bytes(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let count = input.u8()?;
    Some(input.bytes(count.into()).to_vec())
}

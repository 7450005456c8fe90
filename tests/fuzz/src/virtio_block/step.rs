//! Steps of the disk's machine, and their bytes.

use device_core::bus::Width;
use virtio::testing::ring::Descriptor;

use super::QUEUES;
use crate::input::{Input, Output, width, width_bits};

/// One thing that happens to the disk.
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
    Kick {
        queue: u8,
    },
    Settle,
    /// A header, data and a status.
    Request {
        queue: u8,
        kind: u8,
        sector: u32,
        len: u16,
        shift: u8,
    },
    /// A header, ranges and a status.
    Ranges {
        queue: u8,
        kind: u8,
        ranges: Vec<u8>,
    },
    /// What the host does from now on, or to the next task; see [`super::Machine::play`].
    Host {
        event: u8,
        value: u16,
    },
    /// Owner and driver; see [`super::Machine::live`].
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
    WriteDevice {
        offset: u8,
        width: Width,
        value: u32,
    },
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let high = kind >> 5;
        let queue = high % QUEUES as u8;
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
            7 => Step::Kick { queue },
            8 => Step::Settle,
            9 => Step::Request {
                queue,
                kind: input.u8()?,
                sector: input.u32()?,
                len: input.u16()?,
                shift: input.u8()?,
            },
            10 => Step::Ranges { queue, kind: input.u8()?, ranges: short_bytes(input)? },
            11 => Step::Host { event: input.u8()?, value: input.u16()? },
            12 => Step::Life { event: input.u8()? },
            13 => {
                Step::WriteRegister { width: width(high), offset: input.u8()?, value: input.u32()? }
            }
            14 => Step::ReadDevice { width: width(high), offset: input.u8()? },
            15 => {
                Step::WriteDevice { width: width(high), offset: input.u8()?, value: input.u32()? }
            }
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
            Step::Kick { queue } => {
                head(output, 7, *queue);
            }
            Step::Settle => {
                head(output, 8, 0);
            }
            Step::Request { queue, kind, sector, len, shift } => {
                head(output, 9, *queue).u8(*kind).u32(*sector).u16(*len).u8(*shift);
            }
            Step::Ranges { queue, kind, ranges } => {
                head(output, 10, *queue).u8(*kind).u8(ranges.len() as u8).bytes(ranges);
            }
            Step::Host { event, value } => {
                head(output, 11, 0).u8(*event).u16(*value);
            }
            Step::Life { event } => {
                head(output, 12, 0).u8(*event);
            }
            Step::WriteRegister { offset, width, value } => {
                head(output, 13, width_bits(*width)).u8(*offset).u32(*value);
            }
            Step::ReadDevice { offset, width } => {
                head(output, 14, width_bits(*width)).u8(*offset);
            }
            Step::WriteDevice { offset, width, value } => {
                head(output, 15, width_bits(*width)).u8(*offset).u32(*value);
            }
        }
    }
}

/// The byte of a step's kind, with a queue or width.
fn head(output: &mut Output, kind: u8, high: u8) -> &mut Output {
    output.u8(kind | high << 5)
}

fn short_bytes(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let count = input.u8()?;
    Some(input.bytes(count.into()).to_vec())
}

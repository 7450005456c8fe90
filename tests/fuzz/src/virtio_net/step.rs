//! Steps of the network card's machine, and their bytes.

use device_core::bus::Width;

use super::{PAIRS, QUEUES};
use crate::input::{Input, Output, width, width_bits};
use crate::ring_step::{OWN, RingStep, head, short_bytes};

/// One thing that happens to the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What can happen to any rings.
    Ring(RingStep),
    /// A write to memory while the next frame is on its way.
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

impl From<RingStep> for Step {
    fn from(step: RingStep) -> Step {
        Step::Ring(step)
    }
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let queue = (kind >> 5) % QUEUES as u8;
        let lane = queue % PAIRS as u8;
        Some(match kind & 0x1f {
            kind @ ..OWN => Step::Ring(RingStep::read(kind, queue, input)?),
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
            Step::Ring(step) => step.write(output),
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

//! Steps of the disk's machine, and their bytes.

use device_core::bus::Width;

use super::QUEUES;
use crate::input::{Input, Output, width, width_bits};
use crate::ring_step::{OWN, RingStep, head, short_bytes};

/// One thing that happens to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What can happen to any rings.
    Ring(RingStep),
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

impl From<RingStep> for Step {
    fn from(step: RingStep) -> Step {
        Step::Ring(step)
    }
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let high = kind >> 5;
        let queue = high % QUEUES as u8;
        Some(match kind & 0x1f {
            kind @ ..OWN => Step::Ring(RingStep::read(kind, queue, input)?),
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
            Step::Ring(step) => step.write(output),
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

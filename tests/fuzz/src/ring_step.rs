//! Steps that happen to the rings of any virtio device, and their bytes; machines have others besides.

use virtio::testing::ring::Descriptor;

use crate::input::{Input, Output};

/// What a driver does to a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingStep {
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
}

/// Kinds of steps from here on are a machine's own.
pub const OWN: u8 = 7;

impl RingStep {
    /// The step of `kind`, which is less than [`OWN`], at `queue`.
    pub fn read(kind: u8, queue: u8, input: &mut Input<'_>) -> Option<RingStep> {
        Some(match kind {
            0 => RingStep::Place {
                queue,
                size: input.u16()?,
                descriptors: input.u32()?,
                available: input.u32()?,
                used: input.u32()?,
            },
            1 => RingStep::Start { features: input.u64()?, queues: input.u8()? },
            2 => RingStep::Describe {
                queue,
                index: input.u16()?,
                descriptor: Descriptor {
                    addr: i64::from(input.u32()?.cast_signed()).cast_unsigned(),
                    len: input.u32()?,
                    flags: input.u16()?,
                    next: input.u16()?,
                },
            },
            3 => RingStep::Offer { queue, head: input.u16()? },
            4 => RingStep::SetAvailable { queue, index: input.u16()? },
            5 => RingStep::SetEvent { queue, flags: input.u16()?, event: input.u16()? },
            _ => RingStep::WriteMemory { address: input.u32()?, bytes: short_bytes(input)? },
        })
    }

    pub fn write(&self, output: &mut Output) {
        match self {
            RingStep::Place { queue, size, descriptors, available, used } => {
                head(output, 0, *queue).u16(*size).u32(*descriptors).u32(*available).u32(*used);
            }
            RingStep::Start { features, queues } => {
                head(output, 1, 0).u64(*features).u8(*queues);
            }
            RingStep::Describe { queue, index, descriptor } => {
                let Descriptor { addr, len, flags, next } = descriptor;
                let output = head(output, 2, *queue).u16(*index).u32(*addr as u32);
                output.u32(*len).u16(*flags).u16(*next);
            }
            RingStep::Offer { queue, head: first } => {
                head(output, 3, *queue).u16(*first);
            }
            RingStep::SetAvailable { queue, index } => {
                head(output, 4, *queue).u16(*index);
            }
            RingStep::SetEvent { queue, flags, event } => {
                head(output, 5, *queue).u16(*flags).u16(*event);
            }
            RingStep::WriteMemory { address, bytes } => {
                head(output, 6, 0).u32(*address).u8(bytes.len() as u8).bytes(bytes);
            }
        }
    }
}

/// The byte of a step's kind, with a queue, lane or width.
pub fn head(output: &mut Output, kind: u8, high: u8) -> &mut Output {
    output.u8(kind | high << 5)
}

pub fn short_bytes(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let count = input.u8()?;
    Some(input.bytes(count.into()).to_vec())
}

//! Steps of the PCI machine, and their bytes.

use device_core::bus::Width::{self, B1};

use super::MSIX_BAR;
use crate::input::{Input, Output, width, width_bits};

/// One thing that happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// By ECAM; `register` may have function bits too.
    ReadConfig {
        slot: u8,
        register: u16,
        width: Width,
    },
    WriteConfig {
        slot: u8,
        register: u16,
        width: Width,
        value: u64,
    },
    /// Ports of configuration mechanism 1, from 0xcf8.
    ReadPort {
        offset: u8,
        width: Width,
    },
    WritePort {
        offset: u8,
        width: Width,
        value: u64,
    },
    /// Where the registers say that the BAR is.
    ReadBar {
        slot: u8,
        bar: u8,
        offset: u16,
        width: Width,
    },
    WriteBar {
        slot: u8,
        bar: u8,
        offset: u16,
        width: Width,
        value: u64,
    },
    ReadMemory {
        address: u64,
        width: Width,
    },
    WriteMemory {
        address: u64,
        width: Width,
        value: u64,
    },
    /// Something in a card or by its owner; see [`Machine::happen`].
    Event {
        slot: u8,
        event: u8,
    },
}

impl Step {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        let (slot, width) = (kind >> 6, width(kind >> 4));
        Some(match kind & 0xf {
            0 => Step::ReadConfig { slot, register: input.u16()?, width },
            1 => Step::WriteConfig {
                slot,
                register: input.u16()?,
                width,
                value: input.value(width)?,
            },
            2 => Step::ReadPort { offset: input.u8()?, width },
            3 => Step::WritePort { offset: input.u8()?, width, value: input.value(width)? },
            4 => Step::ReadBar { slot, bar: 0, offset: input.u16()?, width },
            5 => Step::ReadBar { slot, bar: MSIX_BAR, offset: input.u16()?, width },
            6 | 7 => Step::WriteBar {
                slot,
                bar: if kind & 1 == 0 { 0 } else { MSIX_BAR },
                offset: input.u16()?,
                width,
                value: input.value(width)?,
            },
            8 => Step::ReadMemory { address: input.u64()?, width },
            9 => Step::WriteMemory { address: input.u64()?, width, value: input.value(width)? },
            _ => Step::Event { slot, event: input.u8()? },
        })
    }

    pub fn write(&self, output: &mut Output) {
        let head =
            |kind: u8, slot: u8, width: Width| kind | width_bits(width) << 4 | (slot & 3) << 6;
        match *self {
            Step::ReadConfig { slot, register, width } => {
                output.u8(head(0, slot, width)).u16(register);
            }
            Step::WriteConfig { slot, register, width, value } => {
                output.u8(head(1, slot, width)).u16(register).value(width, value);
            }
            Step::ReadPort { offset, width } => {
                output.u8(head(2, 0, width)).u8(offset);
            }
            Step::WritePort { offset, width, value } => {
                output.u8(head(3, 0, width)).u8(offset).value(width, value);
            }
            Step::ReadBar { slot, bar, offset, width } => {
                output.u8(head(4 + u8::from(bar == MSIX_BAR), slot, width)).u16(offset);
            }
            Step::WriteBar { slot, bar, offset, width, value } => {
                let kind = 6 + u8::from(bar == MSIX_BAR);
                output.u8(head(kind, slot, width)).u16(offset).value(width, value);
            }
            Step::ReadMemory { address, width } => {
                output.u8(head(8, 0, width)).u64(address);
            }
            Step::WriteMemory { address, width, value } => {
                output.u8(head(9, 0, width)).u64(address).value(width, value);
            }
            Step::Event { slot, event } => {
                output.u8(head(10, slot, B1)).u8(event);
            }
        }
    }
}

//! The registers of a virtio device, on either bus, as far as drivers that poll need them.

use crate::memory::{read, write};
use crate::targets::ADDRESS_REGISTERS;

/// Fields of PCI's common configuration (virtio 1.2, 4.1.4.3).
mod common {
    pub const FEATURE_SELECT: u64 = 0x00;
    pub const FEATURES: u64 = 0x04;
    pub const DRIVER_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURES: u64 = 0x0c;
    pub const STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY: u64 = 0x1e;
    pub const QUEUE_PARTS: u64 = 0x20;
    /// Bytes from one of a queue's three addresses to the next.
    pub const PART_STRIDE: usize = 8;
}

/// Registers on a page (4.2.2); all but the device's own have 32 bits.
mod page {
    pub const FEATURES: u64 = 0x010;
    pub const FEATURE_SELECT: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_SELECT: u64 = 0x024;
    pub const QUEUE_SELECT: u64 = 0x030;
    pub const QUEUE_SIZE_MAX: u64 = 0x034;
    pub const QUEUE_SIZE: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_PARTS: u64 = 0x080;
    pub const PART_STRIDE: usize = 16;
    pub const CONFIGURATION: u64 = 0x100;
}

const NO_VECTOR: u16 = 0xffff;

/// Where a device has its registers.
#[derive(Clone, Copy)]
pub enum Place {
    /// In BARs.
    Pci {
        /// Common configuration (4.1.4.3).
        common: u64,
        /// Doorbells, and the bytes between two of them.
        notify: u64,
        multiplier: u32,
        /// What this kind of device has to say (4.1.4.6).
        configuration: u64,
    },
    /// On a page of its own, without PCI (4.2).
    Page(u64),
}

/// Where a queue is notified.
#[derive(Clone, Copy)]
pub struct Bell {
    pub at: u64,
    /// Bytes that the queue's number has there: 2 or 4.
    pub len: u32,
}

impl Bell {
    /// Notifies the device of queue `index`, whose bell it is.
    pub fn ring(self, index: u16) {
        match self.len {
            2 => write(self.at, index),
            _ => write(self.at, u32::from(index)),
        }
    }
}

impl Place {
    pub fn status(self) -> u8 {
        match self {
            Place::Pci { common, .. } => read(common + common::STATUS),
            Place::Page(at) => read::<u32>(at + page::STATUS) as u8,
        }
    }

    pub fn set_status(self, status: u8) {
        match self {
            Place::Pci { common, .. } => write(common + common::STATUS, status),
            Place::Page(at) => write(at + page::STATUS, u32::from(status)),
        }
    }

    /// All that the device offers.
    pub fn features(self) -> u64 {
        let (select, features) = match self {
            Place::Pci { common, .. } => {
                (common + common::FEATURE_SELECT, common + common::FEATURES)
            }
            Place::Page(at) => (at + page::FEATURE_SELECT, at + page::FEATURES),
        };
        let half = |number: u32| {
            write(select, number);
            u64::from(read::<u32>(features))
        };
        half(0) | half(1) << 32
    }

    /// Tells the device which of them are used.
    pub fn accept(self, features: u64) {
        let (select, accepted) = match self {
            Place::Pci { common, .. } => {
                (common + common::DRIVER_SELECT, common + common::DRIVER_FEATURES)
            }
            Place::Page(at) => (at + page::DRIVER_SELECT, at + page::DRIVER_FEATURES),
        };
        for number in 0..2u32 {
            write(select, number);
            write(accepted, (features >> (32 * number)) as u32);
        }
    }

    /// Selects queue `index`, which [`Self::bell`] and [`Self::enable`] are then about. Returns its largest size.
    pub fn select(self, index: u16) -> u16 {
        match self {
            Place::Pci { common, .. } => {
                write(common + common::QUEUE_SELECT, index);
                read(common + common::QUEUE_SIZE)
            }
            Place::Page(at) => {
                write(at + page::QUEUE_SELECT, u32::from(index));
                read::<u32>(at + page::QUEUE_SIZE_MAX) as u16
            }
        }
    }

    /// Where the queue is notified.
    pub fn bell(self) -> Bell {
        match self {
            Place::Pci { common, notify, multiplier, .. } => {
                let offset = u64::from(read::<u16>(common + common::QUEUE_NOTIFY));
                Bell { at: notify + offset * u64::from(multiplier), len: 2 }
            }
            Place::Page(at) => Bell { at: at + page::QUEUE_NOTIFY, len: 4 },
        }
    }

    /// Brings the queue to life, without interrupts: `parts` are its descriptor table, available ring and used ring.
    pub fn enable(self, size: u16, parts: [u64; 3]) {
        match self {
            Place::Pci { common, .. } => {
                write(common + common::QUEUE_SIZE, size);
                write(common + common::QUEUE_VECTOR, NO_VECTOR);
            }
            Place::Page(at) => write(at + page::QUEUE_SIZE, u32::from(size)),
        }
        for ((register, _), part) in self.address_registers().into_iter().zip(parts) {
            write(register, part as u32);
            write(register + 4, (part >> 32) as u32);
        }
        match self {
            Place::Pci { common, .. } => write(common + common::QUEUE_ENABLE, 1u16),
            Place::Page(at) => write(at + page::QUEUE_READY, 1u32),
        }
    }

    /// Registers that hold an address of the queue that is selected, from and to; there are three.
    pub fn address_registers(self) -> [(u64, u64); ADDRESS_REGISTERS] {
        let (first, stride) = match self {
            Place::Pci { common, .. } => (common + common::QUEUE_PARTS, common::PART_STRIDE),
            Place::Page(at) => (at + page::QUEUE_PARTS, page::PART_STRIDE),
        };
        let mut registers = [(0, 0); ADDRESS_REGISTERS];
        for (register, at) in registers.iter_mut().take(3).zip((first..).step_by(stride)) {
            *register = (at, at + 8);
        }
        registers
    }

    /// Where the device has what its kind has to say (4.1.4.6, 4.2.2).
    pub fn configuration(self) -> u64 {
        match self {
            Place::Pci { configuration, .. } => configuration,
            Place::Page(at) => at + page::CONFIGURATION,
        }
    }
}

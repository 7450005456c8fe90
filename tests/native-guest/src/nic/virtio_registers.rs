//! The registers of a virtio card, on either bus, as far as a driver that polls needs them.

use super::VirtioPlace;
use crate::memory::{read, write};

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
}

/// Registers on a page (4.2.2).
mod page {
    pub const FEATURES: u64 = 0x10;
    pub const FEATURE_SELECT: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_SELECT: u64 = 0x24;
    pub const QUEUE_SELECT: u64 = 0x30;
    pub const QUEUE_MOST: u64 = 0x34;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_PARTS: u64 = 0x80;
}

const NO_VECTOR: u16 = 0xffff;

/// The registers of one card.
#[derive(Clone, Copy)]
pub struct Registers(pub VirtioPlace);

/// Where a queue is notified.
#[derive(Clone, Copy)]
pub struct Bell {
    pub at: u64,
    /// Bytes of the queue's number as it is written there: 2 or 4.
    pub len: u32,
}

impl Bell {
    pub fn ring(self, queue: u16) {
        match self.len {
            2 => write(self.at, queue),
            _ => write(self.at, u32::from(queue)),
        }
    }
}

impl Registers {
    pub fn status(self) -> u8 {
        match self.0 {
            VirtioPlace::Pci { common, .. } => read(common + common::STATUS),
            VirtioPlace::Mmio(at) => read::<u32>(at + page::STATUS) as u8,
        }
    }

    pub fn set_status(self, status: u8) {
        match self.0 {
            VirtioPlace::Pci { common, .. } => write(common + common::STATUS, status),
            VirtioPlace::Mmio(at) => write(at + page::STATUS, u32::from(status)),
        }
    }

    /// All that the card offers.
    pub fn features(self) -> u64 {
        let (select, features) = match self.0 {
            VirtioPlace::Pci { common, .. } => {
                (common + common::FEATURE_SELECT, common + common::FEATURES)
            }
            VirtioPlace::Mmio(at) => (at + page::FEATURE_SELECT, at + page::FEATURES),
        };
        let half = |number: u32| {
            write(select, number);
            u64::from(read::<u32>(features))
        };
        half(0) | half(1) << 32
    }

    pub fn accept(self, features: u64) {
        let (select, accepted) = match self.0 {
            VirtioPlace::Pci { common, .. } => {
                (common + common::DRIVER_SELECT, common + common::DRIVER_FEATURES)
            }
            VirtioPlace::Mmio(at) => (at + page::DRIVER_SELECT, at + page::DRIVER_FEATURES),
        };
        for number in 0..2u32 {
            write(select, number);
            write(accepted, (features >> (32 * number)) as u32);
        }
    }

    /// Those that follow are of this queue. Returns its largest size.
    pub fn select(self, queue: u16) -> u16 {
        match self.0 {
            VirtioPlace::Pci { common, .. } => {
                write(common + common::QUEUE_SELECT, queue);
                read(common + common::QUEUE_SIZE)
            }
            VirtioPlace::Mmio(at) => {
                write(at + page::QUEUE_SELECT, u32::from(queue));
                read::<u32>(at + page::QUEUE_MOST) as u16
            }
        }
    }

    /// Where it is notified.
    pub fn bell(self) -> Bell {
        match self.0 {
            VirtioPlace::Pci { common, notify, multiplier } => {
                let offset = u64::from(read::<u16>(common + common::QUEUE_NOTIFY));
                Bell { at: notify + offset * u64::from(multiplier), len: 2 }
            }
            VirtioPlace::Mmio(at) => Bell { at: at + page::QUEUE_NOTIFY, len: 4 },
        }
    }

    /// Brings it to life, without interrupts: descriptor table, available ring and used ring.
    pub fn enable(self, size: u16, parts: [u64; 3]) {
        let (first, step) = self.parts();
        match self.0 {
            VirtioPlace::Pci { common, .. } => {
                write(common + common::QUEUE_SIZE, size);
                write(common + common::QUEUE_VECTOR, NO_VECTOR);
            }
            VirtioPlace::Mmio(at) => write(at + page::QUEUE_SIZE, u32::from(size)),
        }
        for (part, register) in parts.into_iter().zip((first..).step_by(step)) {
            write(register, part as u32);
            write(register + 4, (part >> 32) as u32);
        }
        match self.0 {
            VirtioPlace::Pci { common, .. } => write(common + common::QUEUE_ENABLE, 1u16),
            VirtioPlace::Mmio(at) => write(at + page::QUEUE_READY, 1u32),
        }
    }

    /// Registers that hold addresses, each of 8 bytes: the first, and the bytes between two of the three.
    pub fn parts(self) -> (u64, usize) {
        match self.0 {
            VirtioPlace::Pci { common, .. } => (common + common::QUEUE_PARTS, 8),
            VirtioPlace::Mmio(at) => (at + page::QUEUE_PARTS, 16),
        }
    }
}

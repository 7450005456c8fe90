//! A good driver's way to a virtio card over PCI (virtio 1.2, 3.1 and 4.1), for any kind of access.

use device_core::bus::Width::{self, B1, B2, B4};

/// How a driver reaches BAR 0 and configuration space of a card.
pub trait Access {
    fn read_bar(&mut self, offset: u64, width: Width) -> u64;
    fn write_bar(&mut self, offset: u64, width: Width, value: u64);
    fn read_config(&mut self, register: u16, width: Width) -> u64;
}

/// Where the structures are in BAR 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Structures {
    pub common: u64,
    pub notify: u64,
    pub notify_step: u64,
    pub config: u64,
    /// Offset of the MSI-X capability in configuration space.
    pub msix: u16,
    /// And of the one that is a window to the BAR.
    pub window: u16,
}

/// A queue as a driver sets it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

const ACKNOWLEDGE: u64 = 1;
const DRIVER: u64 = 2;
pub const DRIVER_OK: u64 = 4;
const FEATURES_OK: u64 = 8;
pub const VERSION_1: u64 = 1 << 32;
pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT: u64 = 1 << 28;

/// Registers of the common configuration.
pub const CONFIG_VECTOR: u64 = 0x10;
pub const STATUS: u64 = 0x14;

impl Structures {
    /// Walks the capability list.
    pub fn find(access: &mut impl Access) -> Structures {
        let mut found = Structures::default();
        let mut at = access.read_config(0x34, B1) as u16;
        while at != 0 {
            let mut field = |offset, width| access.read_config(at + offset, width);
            match (field(0, B1), field(3, B1)) {
                (0x11, _) => found.msix = at,
                (9, 1) => found.common = field(8, B4),
                (9, 2) => {
                    (found.notify, found.notify_step) = (field(8, B4), field(16, B4));
                }
                (9, 4) => found.config = field(8, B4),
                (9, 5) => found.window = at,
                _ => {}
            }
            at = access.read_config(at + 1, B1) as u16;
        }
        found
    }

    pub fn status(self, access: &mut impl Access) -> u64 {
        access.read_bar(self.common + STATUS, B1)
    }

    pub fn set_status(self, access: &mut impl Access, status: u64) {
        access.write_bar(self.common + STATUS, B1, status);
    }

    pub fn offered(self, access: &mut impl Access) -> u64 {
        access.write_bar(self.common, B4, 0);
        let low = access.read_bar(self.common + 4, B4);
        access.write_bar(self.common, B4, 1);
        access.read_bar(self.common + 4, B4) << 32 | low
    }

    /// From reset to FEATURES_OK; whether the card agrees.
    pub fn negotiate(self, access: &mut impl Access, features: u64) -> bool {
        self.set_status(access, 0);
        while self.status(access) != 0 {}
        self.set_status(access, ACKNOWLEDGE);
        self.set_status(access, ACKNOWLEDGE | DRIVER);
        for (select, word) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
            access.write_bar(self.common + 8, B4, select);
            access.write_bar(self.common + 12, B4, word);
        }
        self.set_status(access, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        self.status(access) & FEATURES_OK != 0
    }

    pub fn set_queue(self, access: &mut impl Access, queue: u16, vector: u16, rings: Rings) {
        let mut write = |offset, width, value| access.write_bar(self.common + offset, width, value);
        write(0x16, B2, queue.into());
        write(0x18, B2, rings.size.into());
        write(0x1a, B2, vector.into());
        for (offset, address) in
            [(0x20, rings.descriptors), (0x28, rings.available), (0x30, rings.used)]
        {
            write(offset, B4, address & 0xffff_ffff);
            write(offset + 4, B4, address >> 32);
        }
        write(0x1c, B2, 1);
    }

    /// The last step; the queues live from here on.
    pub fn run(self, access: &mut impl Access) {
        self.set_status(access, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    pub fn kick(self, access: &mut impl Access, queue: u16) {
        let at = self.notify + u64::from(queue) * self.notify_step;
        access.write_bar(at, B2, queue.into());
    }
}

//! PCI configuration space: kernel mode copies it, by ports (configuration mechanism 1), and maps BARs; user mode
//! understands it.

use core::arch::asm;

use crate::nic::EnaPlace;
use crate::{disk, memory, nic, virtio};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const DEVICES: u32 = 32;

const COMMAND: u32 = 0x04;
/// Memory space and bus master.
const COMMAND_ON: u32 = 0b110;
const CLASS: u32 = 0x08;
const BARS: u32 = 0x10;
const CAPABILITIES: u32 = 0x34;
const VENDOR_SPECIFIC: u32 = 0x09;
const MSI_X: u32 = 0x11;

/// Device and vendor ids, as the first register has them: virtio-net, virtio-blk and virtio-vsock 1.x, and the ENA card.
const VIRTIO_NET: u32 = 0x1041_1af4;
const VIRTIO_BLK: u32 = 0x1042_1af4;
const VIRTIO_VSOCK: u32 = 0x1053_1af4;
const ENA: u32 = 0xec20_1d0f;
/// Class, subclass and interface of NVMe controllers, whoever made them.
const NVME: u32 = 0x01_0802;

/// Dwords of configuration space that are remembered: all that a driver of ports can reach.
pub const DWORDS: usize = 64;

fn out32(port: u16, value: u32) {
    // SAFETY: configuration registers do not touch memory.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) }
}

fn in32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack)) }
    value
}

fn read(device: u32, register: u32) -> u32 {
    out32(ADDRESS, 0x8000_0000 | device << 11 | register);
    in32(DATA)
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Card,
    Disk,
    Vsock,
}

/// A device and its place, on bus 0 or without PCI; also what a storm may make of that, and what is needed to undo it.
pub struct Ground {
    /// Device number.
    pub device: u32,
    /// Configuration space, once the device was turned on; zeroes if there is no device.
    pub config: [u32; DWORDS],
    /// Windows of the memory BARs; 0 where there is none.
    pub windows: [u64; 6],
    /// Bytes that a window shows from the large page on that it begins in.
    pub window_len: u64,
}

/// Only in kernel mode, which may be emulated, and emulators of KVM know few of the instructions that are made of
/// longer programs: so it looks, maps, and copies word by word, and no more.
impl Ground {
    /// Finds the first device of a kind, turns it on, and maps its BARs to windows, from `window` on.
    pub fn find(&mut self, kind: Kind, window: usize) {
        for device in 0..DEVICES {
            let (id, class) = (read(device, 0), read(device, CLASS) >> 8);
            let wanted = match kind {
                Kind::Card => id == VIRTIO_NET || id == ENA,
                Kind::Disk => id == VIRTIO_BLK || id != u32::MAX && class == NVME,
                Kind::Vsock => id == VIRTIO_VSOCK,
            };
            if wanted {
                self.take(device, window);
                break;
            }
        }
    }

    fn take(&mut self, device: u32, window: usize) {
        let command = read(device, COMMAND) | COMMAND_ON;
        out32(ADDRESS, 0x8000_0000 | device << 11 | COMMAND);
        out32(DATA, command);
        self.device = device;
        for (register, dword) in (0..).step_by(4).zip(&mut self.config) {
            *dword = read(device, register);
        }
        let mut index = 0;
        while index < 6 {
            let register = BARS + 4 * index as u32;
            let low = read(device, register);
            let is_64_bit = low & 0b110 == 0b100;
            if low & 1 == 0 && low != 0 {
                let high = if is_64_bit { read(device, register + 4) } else { 0 };
                let at = u64::from(low & !0xf) | u64::from(high) << 32;
                self.windows[index] = memory::map(window + index, at);
            }
            index += if is_64_bit { 2 } else { 1 };
        }
    }
}

impl Ground {
    /// Of nothing yet.
    pub const fn new() -> Ground {
        let (config, windows, window_len) = ([0; DWORDS], [0; 6], memory::WINDOW_SHOWN);
        Ground { device: 0, config, windows, window_len }
    }

    /// Of a device on a page, without configuration space: that page, and the next.
    pub fn of_page(page: u64) -> Ground {
        let mut ground = Ground::new();
        ground.windows[0] = page;
        ground.window_len = (page & memory::IN_LARGE) + 0x2000;
        ground
    }

    fn dword(&self, register: u32) -> u32 {
        self.config[(register / 4) as usize % DWORDS]
    }

    fn byte(&self, register: u32) -> u32 {
        self.dword(register) >> (8 * (register & 3)) & 0xff
    }

    /// Where BAR `index` is to be found, if there is such a one.
    fn window(&self, index: u32) -> Option<u64> {
        self.windows.get(index as usize).copied().filter(|window| *window != 0)
    }

    /// Where the capabilities of a kind are.
    fn capabilities(&self, kind: u32) -> impl Iterator<Item = u32> {
        let first = Some(self.byte(CAPABILITIES));
        let all = core::iter::successors(first, |at| Some(self.byte(at + 1)));
        // A list that leads back to itself has an end, too.
        let all = all.take(DWORDS).take_while(|at| *at != 0);
        all.filter(move |at| self.byte(*at) == kind)
    }

    fn virtio(&self) -> Option<virtio::Place> {
        let (mut common, mut notify, mut configuration, mut multiplier) = (None, None, None, 0);
        for at in self.capabilities(VENDOR_SPECIFIC) {
            // virtio 1.2, 4.1.4: cfg_type, bar, offset.
            let (kind, bar, offset) = (self.byte(at + 3), self.byte(at + 4), self.dword(at + 8));
            let place = self.window(bar).map(|window| window + u64::from(offset));
            match kind {
                1 => common = common.or(place),
                2 => (notify, multiplier) = (notify.or(place), self.dword(at + 16)),
                4 => configuration = configuration.or(place),
                _ => {}
            }
        }
        Some(virtio::Place::Pci {
            common: common?,
            notify: notify?,
            multiplier,
            configuration: configuration?,
        })
    }

    /// The network card, if it is one.
    pub fn card(&self) -> Option<nic::Found> {
        match self.dword(0) {
            VIRTIO_NET => Some(nic::Found::Virtio(self.virtio()?)),
            ENA => {
                let (registers, window) = (self.window(0)?, self.window(2));
                Some(nic::Found::Ena(EnaPlace { registers, window }))
            }
            _ => None,
        }
    }

    /// The disk, if it is one.
    pub fn disk(&self) -> Option<disk::Found> {
        match self.dword(0) {
            VIRTIO_BLK => Some(disk::Found::Virtio(self.virtio()?)),
            _ if self.dword(CLASS) >> 8 == NVME => Some(disk::Found::Nvme(self.window(0)?)),
            _ => None,
        }
    }

    /// The vsock, if it is one.
    pub fn vsock(&self) -> Option<virtio::Place> {
        self.virtio().filter(|_| self.dword(0) == VIRTIO_VSOCK)
    }

    /// The MSI-X table, from and to, in one of the windows.
    pub fn vectors(&self) -> (u64, u64) {
        let Some(at) = self.capabilities(MSI_X).next() else { return (0, 0) };
        let count = u64::from(self.dword(at) >> 16 & 0x7ff) + 1;
        let place = self.dword(at + 4);
        let from = self.window(place & 7).unwrap_or(0) + u64::from(place & !7);
        (from, from + count * 16)
    }
}

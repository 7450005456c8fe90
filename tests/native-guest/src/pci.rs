//! PCI configuration space by ports (configuration mechanism 1), and the network card in it. In kernel
//! mode only.

use core::arch::asm;

use crate::memory;
use crate::nic::{EnaPlace, Found, VirtioPlace};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const DEVICES: u32 = 32;

const COMMAND: u32 = 0x04;
/// Memory space and bus master.
const COMMAND_ON: u32 = 0b110;
const BARS: u32 = 0x10;
const CAPABILITIES: u32 = 0x34;
const VENDOR_SPECIFIC: u32 = 0x09;

/// Device and vendor ids, as the first register has them: virtio-net 1.x and the ENA card.
const VIRTIO_NET: u32 = 0x1041_1af4;
const ENA: u32 = 0xec20_1d0f;

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

/// A function of bus 0.
#[derive(Clone, Copy)]
struct Function(u32);

/// Dwords of configuration space that are remembered: all that a driver of ports can reach.
pub const DWORDS: usize = 64;
const MSI_X: u32 = 0x11;

/// What a storm may make of a card's place, and what is needed to undo it.
pub struct Ground {
    /// Device number on bus 0.
    pub device: u32,
    /// Configuration space, once the card was turned on.
    pub config: [u32; DWORDS],
    /// Windows of the memory BARs; 0 where there is none.
    pub windows: [u64; 6],
    /// The MSI-X table, from and to, in one of the windows.
    pub vectors: (u64, u64),
}

impl Ground {
    /// Of nothing yet.
    pub const fn new() -> Ground {
        Ground { device: 0, config: [0; DWORDS], windows: [0; 6], vectors: (0, 0) }
    }
}

impl Function {
    fn read(self, register: u32) -> u32 {
        out32(ADDRESS, 0x8000_0000 | self.0 << 11 | (register & 0xfc));
        in32(DATA)
    }

    fn byte(self, register: u32) -> u32 {
        self.read(register) >> (8 * (register & 3)) & 0xff
    }

    fn turn_on(self) {
        let command = self.read(COMMAND) | COMMAND_ON;
        out32(ADDRESS, 0x8000_0000 | self.0 << 11 | COMMAND);
        out32(DATA, command);
    }

    /// Maps BAR `index` to a window of its own; `None` if there is no such BAR.
    fn map(self, index: u32) -> Option<u64> {
        let low = self.read(BARS + 4 * index);
        let is_64_bit = low & 0b110 == 0b100;
        let high = if is_64_bit { self.read(BARS + 4 * index + 4) } else { 0 };
        let at = u64::from(low & !0xf) | u64::from(high) << 32;
        (at != 0).then(|| memory::map(index as usize, at))
    }

    fn virtio(self) -> Option<VirtioPlace> {
        let (mut common, mut notify, mut multiplier) = (None, None, 0);
        let mut at = self.byte(CAPABILITIES);
        while at != 0 {
            if self.byte(at) == VENDOR_SPECIFIC {
                // virtio 1.2, 4.1.4: cfg_type, bar, offset.
                let (kind, bar, offset) = (self.byte(at + 3), self.byte(at + 4), self.read(at + 8));
                let place = || Some(self.map(bar)? + u64::from(offset));
                match kind {
                    1 => common = place(),
                    2 => (notify, multiplier) = (place(), self.read(at + 16)),
                    _ => {}
                }
            }
            at = self.byte(at + 1);
        }
        Some(VirtioPlace { common: common?, notify: notify?, multiplier })
    }
}

impl Function {
    /// Fills in what there is, once the card is on: where it is and not as a whole, as wide moves are beyond emulators.
    fn survey(self, ground: &mut Ground) {
        ground.device = self.0;
        for (register, dword) in (0..).step_by(4).zip(&mut ground.config) {
            *dword = self.read(register);
        }
        let mut index = 0;
        while index < 6 {
            let low = self.read(BARS + 4 * index);
            if low & 1 == 0 && low != 0 {
                ground.windows[index as usize] = self.map(index).unwrap_or(0);
            }
            index += if low & 0b110 == 0b100 { 2 } else { 1 };
        }
        let mut at = self.byte(CAPABILITIES);
        while at != 0 {
            if self.byte(at) == MSI_X {
                let count = u64::from(self.read(at) >> 16 & 0x7ff) + 1;
                let place = self.read(at + 4);
                let window = ground.windows[(place & 7) as usize % 6];
                ground.vectors.0 = window + u64::from(place & !7);
                ground.vectors.1 = ground.vectors.0 + count * 16;
            }
            at = self.byte(at + 1);
        }
    }
}

/// The first network card of bus 0, turned on, and its ground.
pub fn find(ground: &mut Ground) -> Option<Found> {
    (0..DEVICES).map(Function).find_map(|function| {
        let found = match function.read(0) {
            VIRTIO_NET => Found::Virtio(function.virtio()?),
            ENA => Found::Ena(EnaPlace { registers: function.map(0)?, window: function.map(2) }),
            _ => return None,
        };
        function.turn_on();
        function.survey(ground);
        Some(found)
    })
}

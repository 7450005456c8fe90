//! BAR 0 as a table: the controller's registers and its doorbells (NVMe base specification 1.4, 3.1).

use device_core::bus::Width;
use device_core::registers::RegisterMap;

/// Index of the BAR of the registers.
pub const REGISTERS: u8 = 0;
/// Index of the BAR of the MSI-X table, which the PCI function adds: FreeBSD looks in BAR 0 and 4 only.
pub const MSIX: u8 = 4;
/// Bytes of BAR 0, as EC2 has it.
pub const SIZE: u64 = 0x4000;
/// Where the doorbells begin; Linux maps this and a page behind it at first.
pub const DOORBELLS: u64 = 0x1000;
/// Bytes from one doorbell to the next (CAP.DSTRD is 0).
const STRIDE: u64 = 4;

/// Most entries of a queue. SeaBIOS takes one less as a mask.
pub const MAX_ENTRIES: u16 = 1024;
/// What drivers wait for CSTS.RDY at most, in units of 500 ms; SeaBIOS would not wait at all for 0.
const TIMEOUT: u64 = 20;
/// Queues in one piece, pages of 4 KiB, the NVM command set.
pub const CAP: u64 = (MAX_ENTRIES as u64).wrapping_sub(1) | 1 << 16 | TIMEOUT << 24 | 1 << 37;
/// 1.4.0.
pub const VERSION: u32 = 0x0001_0400;

/// The registers by name; each is 32 bits wide, and pairs are the halves of one. What is not here reads
/// as 0 and is not to be written: no controller memory buffer, no boot partitions, no persistent memory,
/// no subsystem reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reg {
    /// Capabilities; read-only, see [`CAP`].
    CapLow,
    /// Their upper half.
    CapHigh,
    /// Version of the interface; read-only.
    Version,
    /// Sets bits of the interrupt mask, which has no meaning under MSI-X.
    MaskSet,
    /// Clears bits of it.
    MaskClear,
    /// What the host wants of the controller: a [`Configuration`].
    Configuration,
    /// How it stands: bits of [`status`]; read-only.
    Status,
    /// Entries of the admin queues.
    AdminSizes,
    /// Address of the admin submission queue.
    AdminSqLow,
    /// Its upper half.
    AdminSqHigh,
    /// Address of the admin completion queue.
    AdminCqLow,
    /// Its upper half.
    AdminCqHigh,
}

/// The registers.
const FIXED: RegisterMap<Reg> = RegisterMap::new(&[
    (0x00, Width::B4, Reg::CapLow),
    (0x04, Width::B4, Reg::CapHigh),
    (0x08, Width::B4, Reg::Version),
    (0x0c, Width::B4, Reg::MaskSet),
    (0x10, Width::B4, Reg::MaskClear),
    (0x14, Width::B4, Reg::Configuration),
    (0x1c, Width::B4, Reg::Status),
    (0x24, Width::B4, Reg::AdminSizes),
    (0x28, Width::B4, Reg::AdminSqLow),
    (0x2c, Width::B4, Reg::AdminSqHigh),
    (0x30, Width::B4, Reg::AdminCqLow),
    (0x34, Width::B4, Reg::AdminCqHigh),
]);

/// Those that a host may access whole, by their first half.
const WIDE: [u64; 3] = [0x00, 0x28, 0x30];

/// Bits of CSTS.
pub mod status {
    /// The controller takes commands.
    pub const READY: u32 = 1 << 0;
    /// It does not, until a reset.
    pub const FATAL: u32 = 1 << 1;
    /// It is being shut down.
    pub const SHUTTING_DOWN: u32 = 1 << 2;
    /// It is shut down.
    pub const SHUT_DOWN: u32 = 2 << 2;
}

/// What is written to CC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configuration(pub u32);

impl Configuration {
    /// The host wants the controller to work.
    pub fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same without that wish.
    pub fn disabled(self) -> Configuration {
        Configuration(self.0 & !1)
    }

    /// The host is about to power off, in whichever manner.
    pub fn shuts_down(self) -> bool {
        self.0 >> 14 & 3 != 0
    }

    /// Whether the controller can work so: NVM command set, pages of 4 KiB, round robin, entries of 64
    /// and 16 bytes. Entry sizes of 0 are those of drivers that leave them to the controller.
    pub fn is_possible(self) -> bool {
        let command_set = self.0 >> 4 & 7;
        let page_size = self.0 >> 7 & 15;
        let arbitration = self.0 >> 11 & 7;
        let sizes = self.0 >> 16 & 0xff;
        (command_set, page_size, arbitration) == (0, 0, 0) && (sizes == 0x46 || sizes == 0)
    }
}

/// What lies at an offset of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register.
    Fixed(Reg),
    /// Two halves of one.
    Wide(Reg, Reg),
    /// Tail doorbell of a submission queue.
    SqTail(u16),
    /// Head doorbell of a completion queue.
    CqHead(u16),
}

impl Place {
    /// What an access of this width at this offset is to; `None` for what does nothing and reads as 0.
    pub fn at(offset: u64, width: Width) -> Option<Place> {
        if let Some(at) = offset.checked_sub(DOORBELLS) {
            if width != Width::B4 || !at.is_multiple_of(STRIDE) {
                return None;
            }
            let number = at / STRIDE;
            let queue = u16::try_from(number >> 1).ok()?;
            return Some(if number & 1 == 0 { Place::SqTail(queue) } else { Place::CqHead(queue) });
        }
        if width == Width::B8 {
            let half = |at: u64| FIXED.find(at, Width::B4);
            let whole = WIDE.contains(&offset);
            return whole
                .then(|| Some(Place::Wide(half(offset)?, half(offset.wrapping_add(4))?)))?;
        }
        FIXED.find(offset, width).map(Place::Fixed)
    }
}

/// Offset of a submission queue's doorbell in BAR 0.
pub fn sq_doorbell(queue: u16) -> u64 {
    DOORBELLS.wrapping_add(u64::from(queue).wrapping_mul(2 * STRIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_what_drivers_check_in_cap_holds() {
        assert_eq!(CAP, 0x0000_0020_1401_03ff);
        assert!(MAX_ENTRIES.is_power_of_two());
    }

    #[test]
    fn only_accesses_of_a_register_s_own_kind_reach_it() {
        let offsets = [
            (0x1c, Width::B4, Place::Fixed(Reg::Status)),
            (0x00, Width::B8, Place::Wide(Reg::CapLow, Reg::CapHigh)),
            (0x28, Width::B8, Place::Wide(Reg::AdminSqLow, Reg::AdminSqHigh)),
            (0x1000, Width::B4, Place::SqTail(0)),
            (0x1004, Width::B4, Place::CqHead(0)),
            (0x1010, Width::B4, Place::SqTail(2)),
            (0x3ffc, Width::B4, Place::CqHead(0x5ff)),
        ];
        for (offset, width, place) in offsets {
            assert_eq!(Place::at(offset, width), Some(place), "{offset:#x}");
        }
        for (offset, width) in [
            (0x1c, Width::B2),
            (0x1c, Width::B8),
            (0x18, Width::B8),
            (0x20, Width::B4),
            (0x1d, Width::B4),
            (0x1000, Width::B8),
            (0x1002, Width::B4),
            (0x1000, Width::B1),
            (u64::MAX, Width::B4),
        ] {
            assert_eq!(Place::at(offset, width), None, "{offset:#x} {width:?}");
        }
        assert_eq!(sq_doorbell(3), 0x1018);
    }

    #[test]
    fn only_the_configuration_that_there_is_is_possible() {
        for word in [0x0046_0001, 0x0046_4001, 1] {
            assert!(Configuration(word).is_possible(), "{word:#x}");
        }
        for word in [0x0046_0011, 0x0046_0081, 0x0046_0801, 0x0045_0001, 0x0056_0001, 0x0006_0001] {
            assert!(!Configuration(word).is_possible(), "{word:#x}");
        }
    }
}

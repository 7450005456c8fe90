//! BAR 0 as a table: fixed registers, doorbells, unmask registers (specification 1.2 and 2.2; Linux
//! `drivers/net/ethernet/amazon/ena/ena_regs_defs.h`).

use device_core::bus::Width;
use device_core::registers::RegisterMap;

/// Index of the BAR of the registers.
pub const REGISTERS: u8 = 0;
/// Index of the BAR of the MSI-X table, which the PCI function adds.
pub const MSIX: u8 = 1;
/// Index of the BAR of low-latency queues.
pub const LLQ: u8 = 2;

/// Bytes of BAR 0: a page of fixed registers, those that need no trap, and a page for each queue pair
/// that can be.
pub const SIZE: u64 = 0x10_0000;
/// A page that can be memory apart from the others.
pub const PAGE: u64 = 0x1000;
/// Queue pairs, of which pair n has the vector n + 1.
pub const PAIRS: u64 = 128;
/// Where the unmask registers and receive doorbells of all pairs begin.
pub const QUIET: u64 = PAGE;
/// Bytes of them all.
pub const QUIET_LEN: u64 = 2 * PAGE;
/// Bytes from one pair's registers to the next's, which are another lane's: a cache line.
pub const QUIET_STRIDE: u64 = 64;
/// Offset of a pair's unmask register among its own.
pub const UNMASK: u64 = 0;
/// Offset of a pair's receive doorbell among its own.
pub const RX_DOORBELL: u64 = 4;
/// Where the pages of pairs begin.
const PAIR_PAGES: u64 = QUIET + QUIET_LEN;
/// Offset of a pair's transmit doorbell in its page.
pub const TX_DOORBELL: u64 = 0;
/// The unmask register of queues without interrupts, in the first page; it does nothing.
pub const SINK: u32 = 0xffc;

/// "0.10", as drivers print it.
pub const VERSION: u32 = 0x0000_000a;
/// "0.0.1 implementation version 1".
pub const CONTROLLER_VERSION: u32 = 0x0100_0001;
/// Contiguous queues; resets within 3 s; 48 address bits; admin commands within the driver's default.
pub const CAPS: u32 = ADDRESS_BITS << 8 | RESET_TIMEOUT << 1 | 1;
/// Bits of a DMA address.
pub const ADDRESS_BITS: u32 = 48;
/// In units of 100 ms.
const RESET_TIMEOUT: u32 = 30;

/// Bits of DEV_STS (`ENA_REGS_DEV_STS_*`).
pub mod status {
    /// The card can be used.
    pub const READY: u32 = 1 << 0;
    /// A reset was begun and not ended by the driver.
    pub const RESET_IN_PROGRESS: u32 = 1 << 3;
    /// A reset has been ended.
    pub const RESET_FINISHED: u32 = 1 << 4;
    /// Nothing works until a reset.
    pub const FATAL_ERROR: u32 = 1 << 5;
}

/// What a driver writes to DEV_CTL to start a reset; the rest of the word is the reason.
pub const CONTROL_RESET: u32 = 1 << 0;

/// The fixed registers by name; each is 32 bits wide, and pairs are the halves of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reg {
    /// Version of the interface; read-only.
    Version,
    /// Version of the controller; read-only.
    ControllerVersion,
    /// Queues, reset timeout and address width; read-only, see [`CAPS`].
    Caps,
    /// Further capabilities; none.
    CapsExt,
    /// Address of the admin submission queue.
    AqBaseLow,
    /// Its upper half.
    AqBaseHigh,
    /// Depth of the admin submission queue, and bytes of an entry in the upper half.
    AqCaps,
    /// Address of the admin completion queue.
    AcqBaseLow,
    /// Its upper half.
    AcqBaseHigh,
    /// Depth of the admin completion queue, and bytes of an entry in the upper half.
    AcqCaps,
    /// Counter of the commands submitted.
    AqDoorbell,
    /// Counter of the answers given.
    AcqTail,
    /// Depth of the event queue, and bytes of an entry in the upper half.
    AenqCaps,
    /// Address of the event queue.
    AenqBaseLow,
    /// Its upper half.
    AenqBaseHigh,
    /// Counter up to which the event queue is free: the driver's doorbell.
    AenqHead,
    /// Counter of the events posted.
    AenqTail,
    /// Masks the management vector.
    InterruptMask,
    /// Starts and ends resets, with a [`ResetReason`].
    DeviceControl,
    /// Bits of [`status`].
    DeviceStatus,
    /// Asks for a readless read: sequence number, and offset in the upper half.
    MmioRead,
    /// Address where readless answers go.
    MmioResponseLow,
    /// Its upper half.
    MmioResponseHigh,
    /// For single entries of the receive hash's table; no driver uses it, and nothing happens.
    RssEntryUpdate,
}

/// The fixed registers.
pub const FIXED: RegisterMap<Reg> = RegisterMap::new(&[
    (0x00, Width::B4, Reg::Version),
    (0x04, Width::B4, Reg::ControllerVersion),
    (0x08, Width::B4, Reg::Caps),
    (0x0c, Width::B4, Reg::CapsExt),
    (0x10, Width::B4, Reg::AqBaseLow),
    (0x14, Width::B4, Reg::AqBaseHigh),
    (0x18, Width::B4, Reg::AqCaps),
    (0x20, Width::B4, Reg::AcqBaseLow),
    (0x24, Width::B4, Reg::AcqBaseHigh),
    (0x28, Width::B4, Reg::AcqCaps),
    (0x2c, Width::B4, Reg::AqDoorbell),
    (0x30, Width::B4, Reg::AcqTail),
    (0x34, Width::B4, Reg::AenqCaps),
    (0x38, Width::B4, Reg::AenqBaseLow),
    (0x3c, Width::B4, Reg::AenqBaseHigh),
    (0x40, Width::B4, Reg::AenqHead),
    (0x44, Width::B4, Reg::AenqTail),
    (0x4c, Width::B4, Reg::InterruptMask),
    (0x54, Width::B4, Reg::DeviceControl),
    (0x58, Width::B4, Reg::DeviceStatus),
    (0x5c, Width::B4, Reg::MmioRead),
    (0x60, Width::B4, Reg::MmioResponseLow),
    (0x64, Width::B4, Reg::MmioResponseHigh),
    (0x68, Width::B4, Reg::RssEntryUpdate),
]);

/// What an access to BAR 0 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A fixed register.
    Fixed(Reg),
    /// Of this pair.
    TxDoorbell(u16),
    /// Of this pair.
    RxDoorbell(u16),
    /// Of this vector.
    Unmask(u16),
}

impl Place {
    /// Nothing unless it is 32 bits wide and aligned (2.1).
    pub fn at(offset: u64, width: Width) -> Option<Place> {
        if width != Width::B4 || offset & 3 != 0 {
            return None;
        }
        let Some(beyond) = offset.checked_sub(QUIET) else {
            return FIXED.find(offset, width).map(Place::Fixed);
        };
        let Some(beyond) = beyond.checked_sub(QUIET_LEN) else {
            let pair = (beyond / QUIET_STRIDE) as u16;
            return match beyond % QUIET_STRIDE {
                UNMASK => Some(Place::Unmask(pair.wrapping_add(1))),
                RX_DOORBELL => Some(Place::RxDoorbell(pair)),
                _ => None,
            };
        };
        let pair = beyond / PAGE;
        if pair >= PAIRS {
            return None;
        }
        match beyond % PAGE {
            TX_DOORBELL => Some(Place::TxDoorbell(pair as u16)),
            _ => None,
        }
    }

    /// Offset of what belongs to a pair.
    pub fn offset(self) -> u32 {
        let offset = match self {
            Place::Fixed(_) | Place::Unmask(0) => return SINK,
            Place::TxDoorbell(pair) => page(pair).wrapping_add(TX_DOORBELL),
            Place::RxDoorbell(pair) => quiet_of(pair).wrapping_add(RX_DOORBELL),
            Place::Unmask(vector) => quiet_of(vector.wrapping_sub(1)).wrapping_add(UNMASK),
        };
        offset as u32
    }
}

/// Offset of a pair's registers among those that need no trap.
pub fn quiet_of(pair: u16) -> u64 {
    QUIET.wrapping_add(QUIET_STRIDE.wrapping_mul(pair.into()))
}

/// Offset of a pair's page.
pub fn page(pair: u16) -> u64 {
    PAIR_PAGES.wrapping_add(PAGE.wrapping_mul(pair.into()))
}

/// Why a driver resets the card (2.4; `ena_regs_reset_reason_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetReason(pub u8);

impl ResetReason {
    /// From a word written to DEV_CTL.
    pub fn of(control: u32) -> ResetReason {
        ResetReason(((control >> 28 & 0xf) | (control >> 24 & 0xf) << 4) as u8)
    }

    /// The reason for people.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 21] = [
            "normal",
            "keep-alive timeout",
            "admin timeout",
            "missing TX completion",
            "invalid RX request id",
            "invalid TX request id",
            "too many RX descriptors",
            "init error",
            "driver invalid state",
            "OS trigger",
            "OS netdev watchdog",
            "shutdown",
            "user trigger",
            "generic",
            "missing interrupt",
            "suspected poll starvation",
            "RX descriptor malformed",
            "TX descriptor malformed",
            "missing admin interrupt",
            "device request",
            "missing first interrupt",
        ];
        NAMES.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }
}

impl std::fmt::Display for ResetReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_from_both_nibbles() {
        for (word, reason) in
            [(0x1000_0001, 1), (0xb000_0001, 11), (0xe000_0001, 14), (0x3100_0001, 19)]
        {
            assert_eq!(ResetReason::of(word), ResetReason(reason));
        }
        assert_eq!(ResetReason(19).to_string(), "19 (device request)");
        assert_eq!(ResetReason(255).name(), "unknown");
    }

    #[test]
    fn only_aligned_words_reach_a_register() {
        assert_eq!(Place::at(0x58, Width::B4), Some(Place::Fixed(Reg::DeviceStatus)));
        for (offset, place) in [
            (0x1000, Place::Unmask(1)),
            (0x2fc0, Place::Unmask(128)),
            (0x3000, Place::TxDoorbell(0)),
            (0x4000, Place::TxDoorbell(1)),
            (0x8_2000, Place::TxDoorbell(127)),
            (0x1004, Place::RxDoorbell(0)),
            (0x2fc4, Place::RxDoorbell(127)),
        ] {
            assert_eq!(Place::at(offset.into(), Width::B4), Some(place));
            assert_eq!(place.offset(), offset);
        }
        for (offset, width) in [
            (0x58, Width::B2),
            (0x58, Width::B8),
            (0x59, Width::B4),
            (0x1002, Width::B4),
            (0xffc, Width::B4),
            (0x1020, Width::B4),
            (0x1008, Width::B4),
            (0x3004, Width::B4),
            (0x8_3000, Width::B4),
            (0xf_fffc, Width::B4),
            (u64::MAX, Width::B4),
        ] {
            assert_eq!(Place::at(offset, width), None, "{offset:#x} {width:?}");
        }
    }

    #[test]
    fn what_drivers_check_in_caps_holds() {
        assert_eq!(CAPS, 0x0000_303d);
    }
}

//! Configuration space as two tables: what each byte holds, and which of its bits a guest may write.

use device_core::bus::Width;

use crate::device::{BarKind, BarSpec, Identity};

/// Bytes of a function's configuration space (PCI Express Base 4.0, 7.2).
pub const SPACE: u16 = 0x1000;
/// End of the part that the ports at 0xcf8 reach, and that holds the capability list.
pub const LEGACY_SPACE: u16 = 0x100;

// Registers of a type 0 header (PCI Local Bus 3.0, 6.1).
/// Vendor ID, 2 bytes.
pub const VENDOR: u16 = 0x00;
/// Device ID, 2 bytes.
pub const DEVICE: u16 = 0x02;
/// Command, 2 bytes.
pub const COMMAND: u16 = 0x04;
/// Status, 2 bytes.
pub const STATUS: u16 = 0x06;
/// Revision ID, with the 3 bytes of the class code behind it.
pub const REVISION: u16 = 0x08;
/// Cache line size, 1 byte.
pub const CACHE_LINE: u16 = 0x0c;
/// The first BAR, 4 bytes as each.
pub const BAR0: u16 = 0x10;
/// How many BAR registers there are.
pub const BARS: u8 = 6;
/// Subsystem Vendor ID, 2 bytes.
pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
/// Subsystem ID, 2 bytes.
pub const SUBSYSTEM: u16 = 0x2e;
/// Pointer to the first capability, 1 byte.
pub const CAPABILITIES: u16 = 0x34;
/// Interrupt line, 1 byte, for software's own use.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Where capabilities may begin.
pub const HEADER_END: u16 = 0x40;

/// Memory BARs are decoded (PCI Local Bus 3.0, 6.2.2).
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// The function may write to memory.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Memory space, bus master, parity error response, SERR#, interrupt disable. No I/O space: there
/// are no I/O BARs.
const COMMAND_WRITABLE: u16 = COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | 1 << 10;
const STATUS_CAPABILITIES: u16 = 1 << 4;

const BAR_64BIT: u32 = 0b100;
const BAR_PREFETCHABLE: u32 = 0b1000;
/// Low bits of a memory BAR that are no address.
const BAR_FLAGS: u64 = 0xf;

/// A configuration space that this function cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OtherFunction {
    #[error("it has {0} bytes, not {LEGACY_SPACE}")]
    Length(usize),
    #[error("its byte {offset:#x} is {found:#04x}; this card has {own:#04x} there")]
    Byte { offset: usize, found: u8, own: u8 },
}

/// The configuration space of one function.
///
/// It knows which bits change, not what a change means.
pub struct ConfigSpace {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    /// The bytes as they are after a reset.
    initial: Vec<u8>,
}

impl ConfigSpace {
    /// A type 0 header without BARs or capabilities; interrupt pin 0.
    pub fn new(identity: &Identity) -> ConfigSpace {
        let zeroes = || vec![0; usize::from(SPACE)];
        let mut space = ConfigSpace { bytes: zeroes(), writable: zeroes(), initial: zeroes() };
        space.put(VENDOR, Width::B2, identity.vendor.into());
        space.put(DEVICE, Width::B2, identity.device.into());
        let class = u64::from(identity.class & 0xff_ffff) << 8;
        space.put(REVISION, Width::B4, class | u64::from(identity.revision));
        space.put(SUBSYSTEM_VENDOR, Width::B2, identity.subsystem_vendor.into());
        space.put(SUBSYSTEM, Width::B2, identity.subsystem.into());
        space.allow(COMMAND, Width::B2, COMMAND_WRITABLE.into());
        space.allow(CACHE_LINE, Width::B1, 0xff);
        space.allow(INTERRUPT_LINE, Width::B1, 0xff);
        space
    }

    /// Adds the registers of a BAR; the address bits above its size are writable, which is all
    /// there is to sizing.
    pub fn add_bar(&mut self, bar: &BarSpec) {
        let size_mask = !bar.size.wrapping_sub(1);
        let flags = match bar.kind {
            BarKind::Memory32 => 0,
            BarKind::Memory64 { prefetchable: false } => BAR_64BIT,
            BarKind::Memory64 { prefetchable: true } => BAR_64BIT | BAR_PREFETCHABLE,
        };
        self.put(bar_register(bar.index), Width::B4, flags.into());
        self.allow(bar_register(bar.index), Width::B4, size_mask & 0xffff_ffff);
        if let BarKind::Memory64 { .. } = bar.kind {
            self.allow(bar_register(bar.index.wrapping_add(1)), Width::B4, size_mask >> 32);
        }
    }

    /// Shows a list of capabilities that begins at `first`.
    pub fn link_capabilities(&mut self, first: u8) {
        self.put(CAPABILITIES, Width::B1, first.into());
        self.put(STATUS, Width::B2, STATUS_CAPABILITIES.into());
    }

    /// Sets what a register holds after a reset, and now.
    pub fn put(&mut self, offset: u16, width: Width, value: u64) {
        store(&mut self.initial, offset, width, value, u64::MAX);
        store(&mut self.bytes, offset, width, value, u64::MAX);
    }

    /// Lets the guest write the bits of `mask` too.
    pub fn allow(&mut self, offset: u16, width: Width, mask: u64) {
        let before = width.load(&self.writable, offset.into());
        store(&mut self.writable, offset, width, before | mask, u64::MAX);
    }

    /// Bytes past the end read as zero.
    pub fn read(&self, offset: u16, width: Width) -> u64 {
        width.load(&self.bytes, offset.into())
    }

    /// A guest's write: changes writable bits only.
    pub fn write(&mut self, offset: u16, width: Width, value: u64) {
        let mask = width.load(&self.writable, offset.into());
        store(&mut self.bytes, offset, width, value, mask);
    }

    /// The bytes of `range`, as they are now.
    pub fn bytes(&self, range: std::ops::Range<u16>) -> &[u8] {
        self.bytes.get(usize::from(range.start)..usize::from(range.end)).unwrap_or_default()
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        (self.read(COMMAND, Width::B2) & 0xffff) as u16
    }

    /// The address in a BAR's registers, wherever that is.
    pub fn bar_address(&self, bar: &BarSpec) -> u64 {
        let low = self.read(bar_register(bar.index), Width::B4) & !BAR_FLAGS;
        match bar.kind {
            BarKind::Memory32 => low,
            BarKind::Memory64 { .. } => {
                low | self.read(bar_register(bar.index.wrapping_add(1)), Width::B4) << 32
            }
        }
    }

    /// Writes an address into a BAR's registers, as a guest would.
    pub fn set_bar_address(&mut self, bar: &BarSpec, address: u64) {
        self.write(bar_register(bar.index), Width::B4, address & 0xffff_ffff);
        if let BarKind::Memory64 { .. } = bar.kind {
            self.write(bar_register(bar.index.wrapping_add(1)), Width::B4, address >> 32);
        }
    }

    /// What a driver has set in it may be anywhere in these bytes; there are none behind them.
    pub fn saved(&self) -> Vec<u8> {
        self.bytes(0..LEGACY_SPACE).to_vec()
    }

    /// Becomes what `bytes` of [`ConfigSpace::saved`] say. Fails, with nothing changed, if they are of another
    /// function: then a bit differs that no guest can write.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), OtherFunction> {
        if bytes.len() != usize::from(LEGACY_SPACE) {
            return Err(OtherFunction::Length(bytes.len()));
        }
        let own = self.initial.iter().zip(&self.writable);
        for (offset, (&byte, (&initial, &writable))) in bytes.iter().zip(own).enumerate() {
            if (byte ^ initial) & !writable != 0 {
                return Err(OtherFunction::Byte { offset, found: byte, own: initial });
            }
        }
        self.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    /// Everything as after power-on.
    pub fn reset(&mut self) {
        self.bytes.clone_from(&self.initial);
    }
}

/// Where the register of BAR `index` is.
pub fn bar_register(index: u8) -> u16 {
    BAR0.wrapping_add(u16::from(index).wrapping_mul(4))
}

fn store(bytes: &mut [u8], offset: u16, width: Width, value: u64, mask: u64) {
    let to = bytes.iter_mut().skip(offset.into()).take(width.bytes() as usize);
    for ((byte, value), mask) in to.zip(value.to_le_bytes()).zip(mask.to_le_bytes()) {
        *byte = *byte & !mask | value & mask;
    }
}

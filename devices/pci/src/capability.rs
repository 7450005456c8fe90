//! The capability list: MSI-X, PCI Express and a card's own, laid out as tables.

use std::ops::Range;

use device_core::bus::Width;

use crate::config::{ConfigSpace, HEADER_END, LEGACY_SPACE};
use crate::device::Capability;

const ID_PCI_EXPRESS: u8 = 0x10;
const ID_MSIX: u8 = 0x11;

// PCI Express capability (PCI Express Base 4.0, 7.5.3), offsets from its header.
const PCIE_LEN: u16 = 0x3c;
const PCIE_FLAGS: u16 = 0x02;
const PCIE_DEVICE_CAPS: u16 = 0x04;
const PCIE_DEVICE_CONTROL: u16 = 0x08;
/// Version 2, root complex integrated endpoint: no link of its own.
const PCIE_FLAGS_VALUE: u64 = 9 << 4 | 2;
/// Function level reset, role-based error reporting; payloads of 128 bytes.
const PCIE_DEVICE_CAPS_VALUE: u64 = 1 << 28 | 1 << 15;
/// Read requests of 512 bytes, no snoop and relaxed ordering allowed: the defaults.
const PCIE_DEVICE_CONTROL_VALUE: u64 = 0b010 << 12 | 1 << 11 | 1 << 4;
/// Error reporting, relaxed ordering, no snoop, read request size. Payload size and the rest are
/// what the capabilities say. Bit 15 starts a function level reset.
const PCIE_DEVICE_CONTROL_WRITABLE: u64 = FLR | 0b111 << 12 | 1 << 11 | 0b1_1111;
const FLR: u64 = 1 << 15;

// MSI-X capability (PCI Local Bus 3.0, 6.8.2), offsets from its header.
const MSIX_LEN: u16 = 12;
const MSIX_CONTROL: u16 = 0x02;
const MSIX_TABLE: u16 = 0x04;
const MSIX_PBA: u16 = 0x08;
const MSIX_ENABLE: u64 = 1 << 15;
const MSIX_MASK_ALL: u64 = 1 << 14;

/// Bytes of a capability before its body: id and next pointer.
const HEADER: u16 = 2;

/// The capabilities do not fit in the first 256 bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

/// What the guest set in the MSI-X capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsixControl {
    /// MSI-X is on.
    pub enabled: bool,
    /// All vectors are masked, whatever the table says.
    pub all_masked: bool,
}

/// Where each capability of a function is.
#[derive(Default)]
pub struct CapabilityList {
    next: u16,
    last: Option<u16>,
    msix: Option<u16>,
    pci_express: Option<u16>,
    /// Bodies of the card's own capabilities, in its order.
    own: Vec<Range<u16>>,
}

impl CapabilityList {
    /// An empty list, to begin behind the header.
    pub fn new() -> CapabilityList {
        CapabilityList { next: HEADER_END, ..CapabilityList::default() }
    }

    /// Adds MSI-X with `count` vectors, whose table is at 0 of BAR `bar` and whose pending bits
    /// are at `pending` of it. Fails if there is no room left.
    pub fn add_msix(
        &mut self,
        space: &mut ConfigSpace,
        count: u16,
        bar: u8,
        pending: u32,
    ) -> Result<(), NoRoom> {
        let at = self.add(space, ID_MSIX, MSIX_LEN)?;
        let control = at.wrapping_add(MSIX_CONTROL);
        space.put(control, Width::B2, count.saturating_sub(1).into());
        space.allow(control, Width::B2, MSIX_ENABLE | MSIX_MASK_ALL);
        space.put(at.wrapping_add(MSIX_TABLE), Width::B4, bar.into());
        space.put(at.wrapping_add(MSIX_PBA), Width::B4, (pending | u32::from(bar)).into());
        self.msix = Some(at);
        Ok(())
    }

    /// Adds PCI Express with function level reset. Fails if there is no room left.
    pub fn add_pci_express(&mut self, space: &mut ConfigSpace) -> Result<(), NoRoom> {
        let at = self.add(space, ID_PCI_EXPRESS, PCIE_LEN)?;
        space.put(at.wrapping_add(PCIE_FLAGS), Width::B2, PCIE_FLAGS_VALUE);
        space.put(at.wrapping_add(PCIE_DEVICE_CAPS), Width::B4, PCIE_DEVICE_CAPS_VALUE);
        let control = at.wrapping_add(PCIE_DEVICE_CONTROL);
        space.put(control, Width::B2, PCIE_DEVICE_CONTROL_VALUE);
        space.allow(control, Width::B2, PCIE_DEVICE_CONTROL_WRITABLE);
        self.pci_express = Some(at);
        Ok(())
    }

    /// Adds one that the card brought along. Fails if there is no room left.
    pub fn add_own(
        &mut self,
        space: &mut ConfigSpace,
        capability: &Capability,
    ) -> Result<(), NoRoom> {
        let len = u16::try_from(capability.body.len()).map_err(|_| NoRoom)?;
        let len = len.checked_add(HEADER).ok_or(NoRoom)?;
        let at = self.add(space, capability.id, len)?;
        let body = at.wrapping_add(HEADER)..at.wrapping_add(len);
        let writable = capability.writable.iter().chain(std::iter::repeat(&false));
        for ((offset, &byte), &may_write) in body.clone().zip(&capability.body).zip(writable) {
            space.put(offset, Width::B1, byte.into());
            space.allow(offset, Width::B1, if may_write { 0xff } else { 0 });
        }
        self.own.push(body);
        Ok(())
    }

    /// What MSI-X is set to; off where there is none.
    pub fn msix_control(&self, space: &ConfigSpace) -> MsixControl {
        let at = self.msix.map(|at| at.wrapping_add(MSIX_CONTROL));
        let control = at.map_or(0, |at| space.read(at, Width::B2));
        MsixControl {
            enabled: control & MSIX_ENABLE != 0,
            all_masked: control & MSIX_MASK_ALL != 0,
        }
    }

    /// Whether the guest asked for a function level reset since the last call. The bit reads as
    /// zero afterwards.
    pub fn take_function_reset(&self, space: &mut ConfigSpace) -> bool {
        let Some(at) = self.pci_express.map(|at| at.wrapping_add(PCIE_DEVICE_CONTROL)) else {
            return false;
        };
        let control = space.read(at, Width::B2);
        space.write(at, Width::B2, control & !FLR);
        control & FLR != 0
    }

    /// The card's own capability whose body holds the whole access: its number, its body's range,
    /// and the offset in the body.
    pub fn own_at(&self, offset: u16, width: Width) -> Option<(usize, Range<u16>, u8)> {
        let end = u64::from(offset).saturating_add(width.bytes());
        let (index, body) = self
            .own
            .iter()
            .enumerate()
            .find(|(_, body)| body.contains(&offset) && end <= u64::from(body.end))?;
        let within = u8::try_from(offset.wrapping_sub(body.start)).ok()?;
        Some((index, body.clone(), within))
    }

    fn add(&mut self, space: &mut ConfigSpace, id: u8, len: u16) -> Result<u16, NoRoom> {
        let at = self.next;
        let end = at.checked_add(len).filter(|&end| end <= LEGACY_SPACE).ok_or(NoRoom)?;
        let pointer = u8::try_from(at).map_err(|_| NoRoom)?;
        self.next = end.next_multiple_of(4);
        space.put(at, Width::B1, id.into());
        match self.last.replace(at) {
            Some(last) => space.put(last.wrapping_add(1), Width::B1, pointer.into()),
            None => space.link_capabilities(pointer),
        }
        Ok(at)
    }
}

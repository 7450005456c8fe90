//! Where the parts of the interface are in the card's BAR, and the capabilities that tell so.

use device_core::bus::Width::{self, B1, B2, B4};
use device_core::registers::RegisterMap;
use pci::device::{BarKind, BarSpec, Capability};

use super::registers::Register;

/// The BAR of all structures.
pub const BAR: u8 = 0;

// Each structure has a page to itself, so that one can be mapped apart from the others.
const COMMON_AT: u64 = 0;
const ISR_AT: u64 = 0x1000;
const DEVICE_AT: u64 = 0x2000;
const DEVICE_LEN: u32 = 0x1000;
/// Where queue 0 is notified.
pub const NOTIFY_AT: u64 = 0x3000;
/// Bytes from one queue's notify address to the next's.
pub const NOTIFY_STEP: u64 = 4;

const VENDOR_CAPABILITY: u8 = 0x09;
// Types of structures, VIRTIO_PCI_CAP_* (virtio 1.2, 4.1.4).
const CAP_COMMON: u8 = 1;
const CAP_NOTIFY: u8 = 2;
const CAP_ISR: u8 = 3;
const CAP_DEVICE: u8 = 4;
const CAP_PCI: u8 = 5;
/// Number of the PCI configuration access capability in [`capabilities`].
const WINDOW: usize = 4;
/// Offset of `pci_cfg_data` in that capability's body.
const WINDOW_DATA: u8 = 14;

/// Offsets and widths of the common configuration's registers.
pub const COMMON: RegisterMap<Register> = RegisterMap::new(&[
    (0x00, B4, Register::DeviceFeatureSelect),
    (0x04, B4, Register::DeviceFeature),
    (0x08, B4, Register::DriverFeatureSelect),
    (0x0c, B4, Register::DriverFeature),
    (0x10, B2, Register::ConfigVector),
    (0x12, B2, Register::QueueCount),
    (0x14, B1, Register::DeviceStatus),
    (0x15, B1, Register::ConfigGeneration),
    (0x16, B2, Register::QueueSelect),
    (0x18, B2, Register::QueueSize),
    (0x1a, B2, Register::QueueVector),
    (0x1c, B2, Register::QueueEnable),
    (0x1e, B2, Register::QueueNotifyOffset),
    (0x20, B4, Register::DescriptorsLow),
    (0x24, B4, Register::DescriptorsHigh),
    (0x28, B4, Register::AvailableLow),
    (0x2c, B4, Register::AvailableHigh),
    (0x30, B4, Register::UsedLow),
    (0x34, B4, Register::UsedHigh),
]);
/// Bytes of the common configuration.
pub const COMMON_LEN: u32 = 0x38;

/// The BAR of a card with so many queues.
pub fn bar(queues: u16) -> BarSpec {
    let size = NOTIFY_AT.saturating_add(u64::from(queues).saturating_mul(NOTIFY_STEP));
    BarSpec {
        index: BAR,
        kind: BarKind::Memory64 { prefetchable: false },
        size: size.next_power_of_two(),
    }
}

/// Tells a driver where everything is (virtio 1.2, 4.1.4).
pub fn capabilities(queues: u16) -> Vec<Capability> {
    let step = NOTIFY_STEP as u32;
    let mut notify = structure(CAP_NOTIFY, NOTIFY_AT, u32::from(queues).saturating_mul(step));
    extend(&mut notify, &step.to_le_bytes());
    let mut window = structure(CAP_PCI, 0, 0);
    extend(&mut window, &[0; 4]);
    window.writable = vec![false; window.body.len()];
    // BAR, offset, length and data are the driver's.
    for range in [2..3, 6..18] {
        window.writable.get_mut(range).unwrap_or_default().fill(true);
    }
    vec![
        structure(CAP_COMMON, COMMON_AT, COMMON_LEN),
        notify,
        structure(CAP_ISR, ISR_AT, 1),
        structure(CAP_DEVICE, DEVICE_AT, DEVICE_LEN),
        window,
    ]
}

/// The structures in the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The common configuration.
    Common,
    /// The ISR status.
    Isr,
    /// The device's own configuration.
    Device,
    /// Where queues are notified.
    Notify,
}

impl Area {
    /// The structure that holds the whole access, and the offset in it.
    pub fn at(offset: u64, width: Width) -> Option<(Area, u64)> {
        let last = offset.checked_add(width.bytes())?.checked_sub(1)?;
        let (area, start, end) = match offset {
            NOTIFY_AT.. => (Area::Notify, NOTIFY_AT, u64::MAX),
            DEVICE_AT.. => (Area::Device, DEVICE_AT, NOTIFY_AT),
            ISR_AT.. => (Area::Isr, ISR_AT, DEVICE_AT),
            COMMON_AT.. => (Area::Common, COMMON_AT, ISR_AT),
        };
        Some((area, offset.checked_sub(start)?)).filter(|_| last < end)
    }
}

/// The PCI configuration access capability, as the driver set it: a way into the BAR for those who
/// cannot map it (virtio 1.2, 4.1.4.9).
pub struct Window {
    bar: u8,
    offset: u32,
    length: u32,
    data: u32,
}

impl Window {
    /// If an access at `offset` of capability number `index` touches the data register.
    pub fn of(index: usize, offset: u8, body: &[u8]) -> Option<Window> {
        let word = |at: usize| {
            let bytes = body.get(at..at.checked_add(4)?)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        if index != WINDOW || offset != WINDOW_DATA {
            return None;
        }
        let data = word(usize::from(WINDOW_DATA))?;
        Some(Window { bar: *body.get(2)?, offset: word(6)?, length: word(10)?, data })
    }

    /// What the driver wrote, cut to `width`.
    pub fn data(&self, width: Width) -> u64 {
        u64::from(self.data) & width.mask()
    }

    /// Where in `bar` it points to, and how wide; nowhere if it is not set as it must be.
    pub fn target(&self, bar: &BarSpec) -> Option<(u64, Width)> {
        let width = Width::of(self.length.try_into().ok()?).filter(|&width| width != Width::B8)?;
        let offset = u64::from(self.offset);
        let end = offset.checked_add(width.bytes())?;
        let fits = self.bar == bar.index && offset.is_multiple_of(width.bytes()) && end <= bar.size;
        fits.then_some((offset, width))
    }
}

/// A capability that says where a structure is (virtio 1.2, 4.1.4).
fn structure(kind: u8, offset: u64, length: u32) -> Capability {
    let mut capability =
        Capability { id: VENDOR_CAPABILITY, body: vec![0, kind, BAR, 0, 0, 0], writable: vec![] };
    extend(&mut capability, &(offset as u32).to_le_bytes());
    extend(&mut capability, &length.to_le_bytes());
    capability
}

/// Appends to a capability and keeps its length byte right, which counts the two bytes before the
/// body.
fn extend(capability: &mut Capability, bytes: &[u8]) {
    capability.body.extend_from_slice(bytes);
    let length = u8::try_from(capability.body.len()).unwrap_or(u8::MAX).saturating_add(2);
    if let Some(first) = capability.body.first_mut() {
        *first = length;
    }
}

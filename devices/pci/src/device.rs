//! What a card is to the bus: identity, BARs, capabilities, registers.

use std::sync::Arc;

use device_core::bus::Width;
use device_core::device::Device;
use device_core::interrupt::MsiSet;

/// The read-only words of a type 0 header (PCI Local Bus 3.0, 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
    /// Class, subclass, programming interface from the high byte down: `0x020000` is Ethernet.
    pub class: u32,
    /// Revision ID.
    pub revision: u8,
}

/// What lies behind a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// 32-bit, not prefetchable; every access comes to the card.
    Memory32,
    /// 64-bit; takes the next index too. Every access comes to the card.
    Memory64 {
        /// Whether reads have no side effects and writes may be merged.
        prefetchable: bool,
    },
}

/// One BAR of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarSpec {
    /// 0 to 5; a 64-bit BAR also takes `index + 1`.
    pub index: u8,
    /// Its width, and whether it may be prefetched.
    pub kind: BarKind,
    /// Bytes; a power of two, at least 16.
    pub size: u64,
}

/// A capability that the card brings along, besides MSI-X and PCI Express, which the function adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The capability id (PCI Code and ID Assignment Specification), such as 0x09 for vendor.
    pub id: u8,
    /// What follows the id and the next pointer. Read-only for the guest, but for `writable`.
    pub body: Vec<u8>,
    /// Bytes of `body` that the guest may write, one flag per byte; shorter means read-only.
    pub writable: Vec<bool>,
}

/// A card, seen from the bus.
///
/// Accesses to BARs come from any vCPU at once. They lie within the BAR, and values have no bits
/// outside their width. The bus calls `mapped` and `bus_master` from the vCPU that wrote the
/// configuration space, one at a time. A card is born without bus mastering and nowhere mapped. It
/// is reset through its function ([`crate::bus::PciBus::reset`] for all), which first takes both
/// away, so that card and configuration space agree.
pub trait PciDevice: Device {
    /// What the header says of the card; the same at all times.
    fn identity(&self) -> Identity;

    /// Its BARs, without the one of MSI-X; the same at all times.
    fn bars(&self) -> &[BarSpec];

    /// Its capabilities, in the order in which the guest finds them; asked for once.
    fn capabilities(&self) -> Vec<Capability> {
        Vec::new()
    }

    /// The card's vectors; the function shows them as MSI-X table and pending bits, in the BAR
    /// that `msix_bar` names, and routes them.
    fn msix(&self) -> Option<&Arc<dyn MsiSet>>;

    /// Index of the BAR that the function adds for the MSI-X table (at 0) and the PBA.
    fn msix_bar(&self) -> u8;

    /// Reads `width` bytes from `offset` on in BAR `bar`.
    fn read(&self, bar: u8, offset: u64, width: Width) -> u64;
    /// Writes the low `width` bytes of `value` from `offset` on in BAR `bar`.
    fn write(&self, bar: u8, offset: u64, width: Width, value: u64);

    /// The guest moved a BAR, or switched memory decoding: it is at this address now, or nowhere.
    /// A move is heard as nowhere first, so that the old address is free for others.
    fn mapped(&self, _bar: u8, _at: Option<u64>) {}

    /// Bus mastering went on or off. Off: the card does no DMA and sends no MSI until it is on again.
    fn bus_master(&self, on: bool);

    /// The guest enabled or disabled MSI-X as a whole. A card that has not fallen back to
    /// another kind of interrupt need not care.
    fn msix_enabled(&self, _on: bool) {}

    /// The guest accessed the `data` bytes of capability number `index` of [`Self::capabilities`]
    /// that begin at `offset` in its body (VIRTIO_PCI_CAP_PCI_CFG). `body` holds the bytes as
    /// written so far; what is returned replaces the read of this access.
    fn capability_read(
        &self,
        _index: usize,
        _offset: u8,
        _width: Width,
        _body: &[u8],
    ) -> Option<u64> {
        None
    }

    /// As `capability_read`, after the bytes were stored in `body`.
    fn capability_written(&self, _index: usize, _offset: u8, _width: Width, _body: &[u8]) {}
}

//! What kinds of memory lie where, as E820 and PVH tell it to a kernel.

use crate::layout::{
    self, ACPI_TABLES, AddressRange, EBDA, HIGH_MEMORY, IDENTITY, MP_TABLE, PCI_ECAM, SMBIOS,
};

/// What a kernel may do with a range. The numbers are the same in E820 and in PVH's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MemoryKind {
    /// Free for the kernel to use: `E820_TYPE_RAM`.
    Ram = 1,
    /// Not to be touched or given to devices: `E820_TYPE_RESERVED`.
    Reserved = 2,
}

/// One line of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// Guest-physical addresses.
    pub range: AddressRange,
    /// What the kernel may do with them.
    pub kind: MemoryKind,
}

/// The memory map of a machine with `ram_bytes` of RAM (at least 1 MiB), sorted and without overlaps.
///
/// The VGA hole is in no entry; PCI configuration space is reserved, or Linux would not trust MCFG.
pub fn memory_map(ram_bytes: u64) -> Vec<MapEntry> {
    let low_end = layout::low_ram_end(ram_bytes);
    let entries = [
        (MemoryKind::Ram, AddressRange::new(0, EBDA)),
        (MemoryKind::Reserved, AddressRange::new(EBDA, 0xA_0000)),
        (MemoryKind::Reserved, ACPI_TABLES),
        (MemoryKind::Reserved, IDENTITY),
        (MemoryKind::Reserved, SMBIOS),
        (MemoryKind::Reserved, MP_TABLE),
        (MemoryKind::Ram, AddressRange::new(HIGH_MEMORY, low_end)),
        (MemoryKind::Reserved, PCI_ECAM),
        (MemoryKind::Ram, AddressRange::new(layout::HIGH_RAM, layout::ram_end(ram_bytes))),
    ];
    entries
        .into_iter()
        .filter(|(_, range)| !range.is_empty())
        .map(|(kind, range)| MapEntry { range, kind })
        .collect()
}

#[cfg(test)]
#[path = "memory_map_test.rs"]
mod tests;

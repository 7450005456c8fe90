//! The memory map of small and large machines.

use super::*;
use crate::layout::{GIB, MIB, PAGE_SIZE};

fn ram(bytes: u64) -> Vec<(u64, u64)> {
    memory_map(bytes)
        .iter()
        .filter(|entry| entry.kind == MemoryKind::Ram)
        .map(|entry| (entry.range.start, entry.range.end))
        .collect()
}

#[test]
fn small_machines_have_low_ram_only() {
    assert_eq!(ram(128 * MIB), [(0, 0x9_FC00), (MIB, 128 * MIB)]);
    assert_eq!(ram(3 * GIB), [(0, 0x9_FC00), (MIB, 3 * GIB)]);
}

#[test]
fn large_machines_have_ram_above_the_hole() {
    for (bytes, end) in
        [(3 * GIB + PAGE_SIZE, 4 * GIB + PAGE_SIZE), (5 * GIB, 6 * GIB), (1024 * GIB, 1025 * GIB)]
    {
        assert_eq!(ram(bytes), [(0, 0x9_FC00), (MIB, 3 * GIB), (4 * GIB, end)]);
    }
}

#[test]
fn configuration_space_and_firmware_tables_are_reserved() {
    for needed in [PCI_ECAM, ACPI_TABLES, IDENTITY, SMBIOS, MP_TABLE] {
        assert!(
            memory_map(128 * MIB)
                .iter()
                .any(|entry| entry.kind == MemoryKind::Reserved && entry.range == needed)
        );
    }
}

#[test]
fn entries_are_sorted_and_apart() {
    for bytes in [MIB, 128 * MIB, 3 * GIB, 3 * GIB + PAGE_SIZE, 5 * GIB, 1024 * GIB] {
        for pair in memory_map(bytes).windows(2) {
            assert!(pair[0].range.end <= pair[1].range.start, "{bytes:#x}: {pair:x?}");
        }
    }
}

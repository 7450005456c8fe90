//! The MP table, for kernels told to leave ACPI alone (`acpi=off`): without it they know no IOAPIC, no
//! processor but the first, and no local timer. MultiProcessor Specification 1.4, chapter 4.
//!
//! It says what the MADT says, and that ISA interrupts are pins of the IOAPIC by their numbers. So are the
//! lines of virtio devices without PCI, whatever their numbers: drivers take these as they are told.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::layout::{IOAPIC, IOAPIC_ID, LAPIC, MP_TABLE, virtio_mmio_slots};

/// Bytes of the structure that leads to the table.
const POINTER_LEN: u8 = 16;
const HEADER_LEN: usize = 44;
/// Version 1.4 of the specification.
const REVISION: u8 = 4;
/// Integrated APICs, and the version that KVM's IOAPIC tells.
const LAPIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
const ENABLED: u8 = 1 << 0;
const BOOT_CPU: u8 = 1 << 1;
/// Family 6, and that there are FPU and local APIC: CPUID tells the rest.
const CPU_SIGNATURE: u32 = 0x600;
const CPU_FEATURES: u32 = (1 << 9) | 1;

const ISA_BUS: u8 = 0;
const ISA_INTERRUPTS: u8 = 16;
/// Kinds of interrupts: vectored, non-maskable, and that of a PIC.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
const ALL_LAPICS: u8 = 0xff;

/// Writes the table of a machine with `cpus` processors, and virtio devices in the first `virtio_mmio` of
/// their slots, into its place below 1 MiB. Fails if that is not in `memory`.
pub fn write<M: GuestMemoryBackend>(
    memory: &M,
    cpus: u8,
    virtio_mmio: usize,
) -> Result<(), GuestMemoryError> {
    let at = MP_TABLE.start.saturating_add(POINTER_LEN.into());
    memory.write_slice(&table(cpus, virtio_mmio), GuestAddress(at))?;
    // Last, so that whoever finds it finds the table behind it.
    memory.write_slice(&pointer(at as u32), GuestAddress(MP_TABLE.start))
}

/// The floating pointer structure, to a table at `table`.
fn pointer(table: u32) -> Vec<u8> {
    const CHECKSUM: usize = 10;
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(table.to_le_bytes());
    bytes.extend([POINTER_LEN / 16, REVISION]);
    bytes.resize(POINTER_LEN.into(), 0);
    sealed(bytes, CHECKSUM)
}

fn table(cpus: u8, virtio_mmio: usize) -> Vec<u8> {
    const CHECKSUM: usize = 7;
    let mut entries = Vec::new();
    let mut count: u16 = 0;
    let mut add = |entry: &[u8]| {
        entries.extend_from_slice(entry);
        count = count.saturating_add(1);
    };
    for id in 0..cpus {
        let flags = if id == 0 { ENABLED | BOOT_CPU } else { ENABLED };
        let mut entry = vec![0, id, LAPIC_VERSION, flags];
        entry.extend(CPU_SIGNATURE.to_le_bytes());
        entry.extend(CPU_FEATURES.to_le_bytes());
        entry.resize(20, 0);
        add(&entry);
    }
    add(&[&[1, ISA_BUS], b"ISA   ".as_slice()].concat());
    let ioapic = (IOAPIC as u32).to_le_bytes();
    add(&[&[2, IOAPIC_ID, IOAPIC_VERSION, ENABLED], ioapic.as_slice()].concat());
    let virtio = virtio_mmio_slots().take(virtio_mmio).map(|slot| slot.gsi as u8);
    for line in (0..ISA_INTERRUPTS).chain(virtio.filter(|line| *line >= ISA_INTERRUPTS)) {
        add(&[3, INT, 0, 0, ISA_BUS, line, IOAPIC_ID, line]);
    }
    add(&[4, EXT_INT, 0, 0, ISA_BUS, 0, 0, 0]);
    add(&[4, NMI, 0, 0, ISA_BUS, 0, ALL_LAPICS, 1]);

    let len = HEADER_LEN.saturating_add(entries.len()) as u16;
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend([REVISION, 0]);
    bytes.extend(b"VMM     VMMBOARD    ");
    bytes.extend([0; 6]); // no table of the maker's own
    bytes.extend(count.to_le_bytes());
    bytes.extend((LAPIC as u32).to_le_bytes());
    bytes.extend([0; 4]); // no extended entries
    bytes.extend(entries);
    sealed(bytes, CHECKSUM)
}

/// Sets the checksum so that all bytes sum up to zero.
fn sealed(mut bytes: Vec<u8>, checksum: usize) -> Vec<u8> {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = bytes.get_mut(checksum) {
        *byte = sum.wrapping_neg();
    }
    bytes
}

#[cfg(test)]
#[path = "mptable_test.rs"]
mod tests;

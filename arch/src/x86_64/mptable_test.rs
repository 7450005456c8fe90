//! The table as a kernel without ACPI finds and walks it.

use super::*;
use crate::layout::MAX_CPUS;
use vm_memory::GuestMemoryMmap;

/// The entries of the table that a search for the pointer leads to, each checked for its length.
fn found(cpus: u8) -> Vec<Vec<u8>> {
    found_with(cpus, 0)
}

fn found_with(cpus: u8, virtio_mmio: usize) -> Vec<Vec<u8>> {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    write(&memory, cpus, virtio_mmio).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    };
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));

    // Where the specification lets a kernel look, on 16-byte boundaries.
    let at = (0xf_0000..0x10_0000).step_by(16).find(|&at| read(at, 4) == b"_MP_").unwrap();
    let pointer = read(at, 16);
    assert_eq!((pointer[8], pointer[9], sum(&pointer)), (1, 4, 0));
    let at = u32::from_le_bytes(pointer[4..8].try_into().unwrap()).into();
    let header = read(at, HEADER_LEN);
    assert_eq!(&header[..4], b"PCMP");
    assert_eq!(u32::from_le_bytes(header[36..40].try_into().unwrap()), 0xfee0_0000);
    let len = u16::from_le_bytes([header[4], header[5]]);
    assert!(MP_TABLE.contains(at, len.into()));
    let table = read(at, len.into());
    assert_eq!(sum(&table), 0);

    let mut rest = &table[HEADER_LEN..];
    let mut entries = Vec::new();
    while let Some(&kind) = rest.first() {
        let (entry, behind) = rest.split_at(if kind == 0 { 20 } else { 8 });
        entries.push(entry.to_vec());
        rest = behind;
    }
    assert_eq!(entries.len(), usize::from(u16::from_le_bytes([header[34], header[35]])));
    entries
}

#[test]
fn every_cpu_is_there_and_the_first_one_boots() {
    for cpus in [1, 2, MAX_CPUS] {
        let entries = found(cpus);
        let ids: Vec<_> = entries.iter().filter(|e| e[0] == 0).map(|e| (e[1], e[3])).collect();
        let wanted: Vec<_> = (0..cpus).map(|id| (id, if id == 0 { 3 } else { 1 })).collect();
        assert_eq!(ids, wanted);
    }
}

#[test]
fn isa_interrupts_are_pins_of_the_ioapic_by_their_numbers() {
    let entries = found(4);
    let ioapic = entries.iter().find(|e| e[0] == 2).unwrap();
    assert_eq!((ioapic[1], ioapic[3]), (IOAPIC_ID, 1));
    assert_eq!(ioapic[4..], 0xfec0_0000u32.to_le_bytes());
    let lines: Vec<_> = entries.iter().filter(|e| e[0] == 3).collect();
    assert_eq!(lines.len(), 16);
    for (line, entry) in (0..).zip(lines) {
        assert_eq!(entry[1..], [INT, 0, 0, ISA_BUS, line, IOAPIC_ID, line]);
    }
}

#[test]
fn the_pic_is_at_the_first_pin_of_the_boot_cpu_and_nmi_at_the_second_of_all() {
    let locals: Vec<_> = found(2).into_iter().filter(|e| e[0] == 4).collect();
    assert_eq!(locals, [[4, EXT_INT, 0, 0, 0, 0, 0, 0], [4, NMI, 0, 0, 0, 0, 0xff, 1]]);
}

#[test]
fn lines_of_virtio_devices_are_pins_of_the_ioapic_by_their_numbers_too() {
    let lines = |virtio_mmio| {
        let entries = found_with(1, virtio_mmio).into_iter().filter(|e| e[0] == 3);
        entries.inspect(|e| assert_eq!((e[1], e[5]), (INT, e[7]))).map(|e| e[7]).collect::<Vec<_>>()
    };
    assert_eq!(lines(9), (0..16).collect::<Vec<_>>());
    assert_eq!(lines(11), (0..18).collect::<Vec<_>>());
    assert_eq!(lines(17), (0..24).collect::<Vec<_>>());
}

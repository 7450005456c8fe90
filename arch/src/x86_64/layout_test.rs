//! RAM and windows of small and large machines.

use super::*;

#[test]
fn ram_up_to_three_gib_is_one_region() {
    for bytes in [128 * MIB, 512 * MIB, 3 * GIB - PAGE_SIZE, 3 * GIB] {
        assert_eq!(ram_regions(bytes), [(GuestAddress(0), bytes)]);
        assert_eq!(ram_end(bytes), bytes);
        assert_eq!(low_ram_end(bytes), bytes);
    }
}

#[test]
fn more_ram_goes_on_above_the_hole() {
    for (bytes, high) in
        [(3 * GIB + PAGE_SIZE, PAGE_SIZE), (5 * GIB, 2 * GIB), (1024 * GIB, 1021 * GIB)]
    {
        let expected = [(GuestAddress(0), 3 * GIB), (GuestAddress(4 * GIB), high)];
        assert_eq!(ram_regions(bytes), expected);
        assert_eq!(ram_end(bytes), 4 * GIB + high);
        assert_eq!(low_ram_end(bytes), 3 * GIB);
    }
}

#[test]
fn no_ram_size_overflows() {
    assert_eq!(ram_regions(0), []);
    assert_eq!(ram_regions(u64::MAX).len(), 2);
    assert_eq!(ram_end(u64::MAX), u64::MAX);
    assert_eq!(pci_mmio64(u64::MAX, 0, 64), None);
    assert_eq!(pci_mmio64(u64::MAX, 0, 52), None);
}

#[test]
fn the_64_bit_window_lies_above_ram_and_within_the_address_bits() {
    assert_eq!(pci_mmio64(512 * MIB, 0, 40), Some(AddressRange::new(4 * GIB, 260 * GIB)));
    assert_eq!(pci_mmio64(5 * GIB + PAGE_SIZE, 0, 36), Some(AddressRange::new(7 * GIB, 64 * GIB)));
    assert_eq!(pci_mmio64(1024 * GIB, 0, 46), Some(AddressRange::new(1025 * GIB, 1281 * GIB)));
}

#[test]
fn ram_beyond_the_address_bits_leaves_no_window() {
    assert_eq!(pci_mmio64(1024 * GIB, 0, 40), None);
    assert_eq!(pci_mmio64(63 * GIB, 0, 36), None);
    assert_eq!(pci_mmio64(512 * MIB, 0, 32), None);
}

#[test]
fn a_range_knows_what_it_contains() {
    let range = AddressRange::new(0x1000, 0x3000);
    assert!(range.contains(0x1000, 0x2000));
    assert!(!range.contains(0x1000, 0x2001));
    assert!(!range.contains(0xFFF, 1));
    assert!(!range.contains(u64::MAX, 2));
    assert_eq!(AddressRange::new(2, 1).len(), 0);
}

#[test]
fn every_virtio_slot_has_a_page_and_a_line_of_its_own() {
    let slots: Vec<_> = virtio_mmio_slots().collect();
    assert_eq!(slots.len(), 17, "as many as Firecracker has");
    assert_eq!(slots[0], VirtioMmioSlot { address: 0xFE00_0000, gsi: 6 });
    for (nth, slot) in slots.iter().enumerate() {
        assert!(VIRTIO_MMIO.contains(slot.address, VIRTIO_MMIO_SIZE));
        assert!(slot.gsi < IOAPIC_PINS);
        // Timer, keyboard, cascade, COM1, generic event device, clock, mouse.
        assert!(![0, I8042_KEYBOARD_GSI, 2, COM1_GSI, GED_GSI, 8, 12].contains(&slot.gsi));
        for other in &slots[..nth] {
            assert!(slot.address >= other.address + VIRTIO_MMIO_SIZE && slot.gsi != other.gsi);
        }
    }
    // Those that a PIC has come first.
    assert!(slots.is_sorted_by_key(|slot| slot.gsi >= 16));
}

#[test]
fn persistent_memory_lies_in_whole_sections_between_ram_and_the_64_bit_window() {
    let room = pmem(512 * MIB, [2 * MIB, 300 * MIB]).unwrap();
    assert_eq!(room, AddressRange::new(4 * GIB, 4 * GIB + 428 * MIB));
    let first = next_pmem(&room, 2 * MIB).unwrap();
    assert_eq!(first, AddressRange::new(4 * GIB, 4 * GIB + 2 * MIB));
    let left = AddressRange::new(first.end, room.end);
    let second = next_pmem(&left, 300 * MIB).unwrap();
    assert_eq!(second, AddressRange::new(4 * GIB + 128 * MIB, room.end));
    assert_eq!(next_pmem(&left, 301 * MIB), None);
    let window = pci_mmio64(512 * MIB, room.end, 40).unwrap();
    assert_eq!(window.start, 5 * GIB);

    assert!(pmem(ram_end(5 * GIB), []).unwrap().is_empty());
    assert_eq!(pmem(ram_end(5 * GIB), []).unwrap().start, 6 * GIB);
    assert_eq!(pmem(GIB, [u64::MAX]), None);
    assert_eq!(pmem(u64::MAX, [MIB]), None);
}

#[test]
fn memory_that_is_plugged_lies_in_large_blocks_between_ram_and_all_else() {
    let at = |ram, bytes| hot_memory(ram, bytes).unwrap();
    assert_eq!(at(512 * MIB, GIB), AddressRange::new(4 * GIB, 5 * GIB));
    assert_eq!(at(5 * GIB, 128 * MIB), AddressRange::new(6 * GIB, 6 * GIB + 128 * MIB));
    assert_eq!(at(4 * GIB, 128 * MIB).start, 6 * GIB, "RAM ends at 5 GiB");
    let hot = at(512 * MIB, GIB + 128 * MIB);
    assert_eq!(pmem(hot.end, [2 * MIB]).unwrap().start, 6 * GIB);
    let room = pmem(hot.end, []).unwrap();
    assert_eq!(pci_mmio64(512 * MIB, room.end, 40).unwrap().start, 6 * GIB);

    // Without it nothing else moves.
    for ram in [512 * MIB, 5 * GIB] {
        assert!(at(ram, 0).is_empty());
        assert_eq!(at(ram, 0).end, ram_end(ram));
    }
    assert_eq!(hot_memory(GIB, u64::MAX), None);
    assert_eq!(hot_memory(u64::MAX, GIB), None);
}

#[test]
fn spare_room_for_persistent_memory_leaves_most_addresses_to_pci() {
    let room = pmem(GIB, [2 * MIB]).unwrap();
    let spare = |bits| with_spare_pmem(room, bits).end - room.end;
    assert_eq!((spare(46), spare(39), spare(36), spare(32)), (256 * GIB, 126 * GIB, 14 * GIB, 0));
    for bits in [36, 39, 46, 52] {
        let room = with_spare_pmem(room, bits);
        assert!(pci_mmio64(GIB, room.end, bits).unwrap().len() >= 30 * GIB, "{bits}");
    }
}

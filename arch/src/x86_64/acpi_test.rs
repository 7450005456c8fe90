//! The tables as a guest finds them in memory.

use super::*;
use crate::layout::GIB;
use vm_memory::GuestMemoryMmap;

const MMIO64: AddressRange = AddressRange::new(4 * GIB, 260 * GIB);
const FACTS: BoardFacts = BoardFacts {
    cpus: 4,
    pci_mmio64: Some(MMIO64),
    virtio_mmio: 0,
    serial: true,
    keyboard: true,
    rtc: true,
};

fn written(facts: &BoardFacts) -> (GuestMemoryMmap, u64) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let rsdp = write_tables(&memory, facts).unwrap();
    (memory, rsdp.0)
}

fn read(memory: &GuestMemoryMmap, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A table with its length and checksum verified.
fn table(memory: &GuestMemoryMmap, at: u64) -> Vec<u8> {
    let len = u32_at(&read(memory, at, 8), 4) as usize;
    assert!(ACPI_TABLES.contains(at, len as u64));
    let table = read(memory, at, len);
    assert_eq!(sum(&table), 0, "checksum of {:?}", &table[..4]);
    table
}

/// All tables that a guest finds, by way of the RSDP.
fn found(facts: &BoardFacts) -> Vec<Vec<u8>> {
    let (memory, rsdp) = written(facts);
    let pointer = read(&memory, rsdp, 36);
    assert_eq!(&pointer[..8], b"RSD PTR ");
    assert_eq!(sum(&pointer[..20]), 0);
    assert_eq!(sum(&pointer), 0);
    let xsdt = table(&memory, u64_at(&pointer, 24));
    let mut tables: Vec<_> =
        xsdt[36..].chunks(8).map(|entry| table(&memory, u64_at(entry, 0))).collect();
    let fadt = tables.iter().find(|table| &table[..4] == b"FACP").unwrap();
    tables.push(table(&memory, u64_at(fadt, 140)));
    tables
}

fn find(facts: &BoardFacts, signature: &[u8; 4]) -> Vec<u8> {
    let mut tables = found(facts).into_iter();
    tables.find(|table| &table[..4] == signature).unwrap()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Splits a list of AML terms that are all `Device` or `Name`, by their own lengths.
fn devices(mut body: &[u8]) -> Vec<(String, &[u8])> {
    let mut devices = vec![];
    while let [0x5B, 0x82, rest @ ..] = body {
        let extra = usize::from(rest[0] >> 6);
        let low = usize::from(rest[0] & if extra == 0 { 0x3F } else { 0xF });
        let len = rest[1..=extra]
            .iter()
            .enumerate()
            .fold(low, |len, (i, byte)| len | usize::from(*byte) << (4 + 8 * i));
        let term = &rest[1 + extra..len];
        // A root prefix, two names: `\_SB_.XXXX`.
        assert_eq!(&term[..6], b"\\\x2E_SB_");
        devices.push((String::from_utf8(term[6..10].to_vec()).unwrap(), &term[10..]));
        body = &rest[len..];
    }
    assert_eq!(&body[..6], b"\x08\\_S5_", "what follows is the S5 package");
    devices
}

#[test]
fn a_guest_finds_every_table_from_the_root_pointer() {
    let mut names: Vec<_> =
        found(&FACTS).iter().map(|table| String::from_utf8(table[..4].to_vec()).unwrap()).collect();
    names.sort();
    assert_eq!(names, ["APIC", "DSDT", "FACP", "MCFG"]);
}

#[test]
fn the_root_pointer_is_where_an_unaided_kernel_looks() {
    let (_, rsdp) = written(&FACTS);
    assert!((0xE_0000..0x10_0000).contains(&rsdp));
    assert_eq!(rsdp % 16, 0);
}

#[test]
fn fadt_says_how_to_reset_and_to_power_off() {
    let fadt = find(&FACTS, b"FACP");
    let byte_port = |port: u16| [&[1u8, 8, 0, 1][..], &u64::from(port).to_le_bytes()].concat();
    let flags = u32_at(&fadt, 112);
    assert_ne!(flags & (1 << 20), 0, "hardware-reduced");
    assert_ne!(flags & (1 << 10), 0, "reset register");
    assert_ne!(flags & (1 << 4), 0, "no fixed power button");
    assert_eq!(fadt[116..128], byte_port(RESET_PORT));
    assert_eq!(fadt[128], RESET_VALUE);
    assert_eq!(fadt[244..256], byte_port(SLEEP_CONTROL_PORT));
    assert_eq!(fadt[256..268], byte_port(SLEEP_STATUS_PORT));
}

#[test]
fn boot_architecture_follows_the_board() {
    let flags = |facts: &BoardFacts| {
        let fadt = find(facts, b"FACP");
        u16::from_le_bytes([fadt[109], fadt[110]])
    };
    assert_eq!(flags(&FACTS), 0b01_0111);
    let bare = BoardFacts { serial: false, keyboard: false, rtc: false, ..FACTS };
    assert_eq!(flags(&bare), 0b11_0100);
}

#[test]
fn madt_lists_every_cpu_and_the_io_apic() {
    for cpus in [1, 2, 3, 4, 64] {
        let madt = find(&BoardFacts { cpus, ..FACTS }, b"APIC");
        assert_eq!(u32_at(&madt, 36), 0xFEE0_0000);
        let (local, io) = madt[44..].split_at(8 * usize::from(cpus));
        for (id, entry) in (0..).zip(local.chunks(8)) {
            assert_eq!(entry, [0, 8, id, id, 1, 0, 0, 0]);
        }
        assert_eq!(io, [1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
    }
}

#[test]
fn mcfg_names_configuration_space() {
    let mcfg = find(&FACTS, b"MCFG");
    assert_eq!(mcfg.len(), 44 + 16);
    assert_eq!(u64_at(&mcfg, 44), PCI_ECAM.start);
    assert_eq!(mcfg[52..56], [0, 0, 0, LAST_BUS]);
}

#[test]
fn dsdt_has_the_devices_of_the_board_and_no_others() {
    let names = |facts: &BoardFacts| {
        let dsdt = find(facts, b"DSDT");
        let names: Vec<_> = devices(&dsdt[36..]).into_iter().map(|(name, _)| name).collect();
        names
    };
    assert_eq!(
        names(&FACTS),
        ["PCI0", "MBRD", "VGEN", "VCLK", "PWRB", "GED_", "COM1", "RTC_", "KBD_"]
    );
    let bare = BoardFacts { serial: false, keyboard: false, rtc: false, ..FACTS };
    assert_eq!(names(&bare), ["PCI0", "MBRD", "VGEN", "VCLK", "PWRB", "GED_"]);
}

#[test]
fn the_host_bridge_announces_its_windows() {
    let dsdt = find(&FACTS, b"DSDT");
    let (_, bridge) = devices(&dsdt[36..]).into_iter().find(|(name, _)| name == "PCI0").unwrap();
    for range in [PCI_MMIO32, MMIO64] {
        let bounds = [range.start, range.end - 1, 0, range.len()].map(u64::to_le_bytes);
        assert!(contains(bridge, bounds.as_flattened()), "{range:x?}");
    }
    // PNP0A08, the configuration ports as 16-bit I/O, the one bus.
    assert!(contains(bridge, &[0x41, 0xD0, 0x0A, 0x08]));
    assert!(contains(bridge, &[0x47, 1, 0xF8, 0x0C, 0xF8, 0x0C, 1, 8]));
    assert!(contains(bridge, &[0x88, 13, 0, 2]));
    assert!(contains(bridge, b"_OSC"));
}

#[test]
fn interrupts_are_edge_triggered_on_their_lines() {
    let dsdt = find(&FACTS, b"DSDT");
    let lines = [
        ("COM1", COM1_GSI),
        ("GED_", GED_GSI),
        ("GED_", HOTPLUG_GSI),
        ("GED_", IDENTITY_GSI),
        ("KBD_", I8042_KEYBOARD_GSI),
    ];
    for (device, line) in lines {
        let found = devices(&dsdt[36..]).into_iter().find(|(name, _)| name == device);
        let mut descriptor = vec![0x89, 6, 0, 0b0011, 1];
        descriptor.extend(line.to_le_bytes());
        assert!(contains(found.unwrap().1, &descriptor), "{device}");
    }
}

#[test]
fn a_new_identity_is_told_to_both_drivers_of_it_on_any_machine() {
    for facts in [FACTS, BoardFacts { pci_mmio64: None, ..FACTS }] {
        let dsdt = find(&facts, b"DSDT");
        let found = devices(&dsdt[36..]);
        let (_, events) = found.iter().find(|(name, _)| name == "GED_").unwrap();
        // Notify (ACPI 6.5, 20.2.5.3) of 0x80.
        for device in [b"VGEN", b"VCLK"] {
            let told = [b"\x86\\\x2E_SB_".as_slice(), device, &[0x0a, 0x80]].concat();
            assert!(contains(events, &told), "{events:02x?}");
        }
    }
}

#[test]
fn news_of_slots_are_scanned_for_where_there_is_pci() {
    let scans = |facts: &BoardFacts| {
        let dsdt = find(facts, b"DSDT");
        let found = devices(&dsdt[36..]);
        let (_, events) = found.iter().find(|(name, _)| name == "GED_").unwrap();
        contains(events, &[b"\\\x2F\x03_SB_PCI0SCAN".as_slice()].concat())
    };
    assert!(scans(&FACTS));
    assert!(!scans(&BoardFacts { pci_mmio64: None, ..FACTS }));
}

#[test]
fn a_machine_without_pci_has_virtio_devices_in_their_slots_instead() {
    let facts = BoardFacts { pci_mmio64: None, virtio_mmio: 17, ..FACTS };
    let mut names: Vec<_> =
        found(&facts).iter().map(|table| String::from_utf8(table[..4].to_vec()).unwrap()).collect();
    names.sort();
    assert_eq!(names, ["APIC", "DSDT", "FACP"]);

    let dsdt = find(&facts, b"DSDT");
    let found = devices(&dsdt[36..]);
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..7], ["VGEN", "VCLK", "PWRB", "GED_", "COM1", "RTC_", "KBD_"]);
    for ((number, slot), (name, body)) in (0..).zip(virtio_mmio_slots()).zip(&found[7..]) {
        assert_eq!(*name, format!("VR{number:02}"));
        assert!(contains(body, b"\x08_HID\x0DLNRO0005\0"));
        let mut resources = vec![0x86, 9, 0, 1];
        resources.extend((slot.address as u32).to_le_bytes());
        resources.extend(0x1000u32.to_le_bytes());
        resources.extend([0x89, 6, 0, 0b0011, 1]);
        resources.extend(slot.gsi.to_le_bytes());
        assert!(contains(body, &resources), "{name}");
    }
    assert_eq!(found.len(), 7 + 17);
}

#[test]
fn s5_is_the_sleep_type_that_powers_off() {
    let dsdt = find(&FACTS, b"DSDT");
    assert!(contains(&dsdt, b"\x08\\_S5_\x12\x07\x04\x0A\x05\x00\x00\x00"));
    assert_eq!(SLEEP_TYPE_S5, 5);
}

#[test]
fn memory_without_the_place_for_tables_is_an_error() {
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0xE_0000)]).unwrap();
    assert!(matches!(write_tables(&memory, &FACTS), Err(AcpiError::Memory(_))));
}

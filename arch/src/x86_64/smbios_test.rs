//! The tables as a kernel finds and walks them.

use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

use super::*;
use crate::layout::{GIB, MAX_CPUS};

/// A structure as it lies in memory: its fields, and its texts.
struct Found {
    fields: Vec<u8>,
    texts: Vec<String>,
}

impl Found {
    fn kind(&self) -> u8 {
        self.fields[0]
    }

    fn number(&self, at: usize, len: usize) -> u64 {
        let bytes = self.fields[at..at + len].iter().rev();
        bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// The text that the field at `at` names; empty without one.
    fn text(&self, at: usize) -> &str {
        match self.fields[at] {
            0 => "",
            number => &self.texts[usize::from(number) - 1],
        }
    }
}

/// The structures that a search for the entry point leads to.
fn found(identity: &Identity, facts: &MachineFacts) -> Vec<Found> {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    write(&memory, identity, facts).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    };
    // As Linux looks for it: on 16-byte boundaries, by name, length and checksum.
    let is_entry = |at: &u64| {
        let entry = read(*at, 32);
        entry.starts_with(b"_SM3_")
            && entry[..24].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
    };
    let at = (0xF_0000..0x10_0000).step_by(16).find(is_entry).unwrap();
    assert_eq!(at, 0xF_0000);
    let entry = read(at, 24);
    assert_eq!((entry[6], entry[7], entry[8], entry[10]), (24, 3, 0, 1));
    let len = u32::from_le_bytes(entry[12..16].try_into().unwrap());
    let at = u64::from_le_bytes(entry[16..24].try_into().unwrap());
    assert!(SMBIOS.contains(at, len.into()));
    assert!(at >= 0xF_0000 + 24);
    walk(&read(at, len as usize))
}

fn walk(mut rest: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (fields, behind) = rest.split_at(rest[1].into());
        let end = behind.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let texts = behind[..end].split(|byte| *byte == 0).filter(|text| !text.is_empty());
        let texts = texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
        rest = &behind[end + 2..];
        all.push(Found { fields: fields.to_vec(), texts });
    }
    all
}

fn of(all: &[Found], kind: u8) -> Vec<&Found> {
    all.iter().filter(|found| found.kind() == kind).collect()
}

const SMALL: MachineFacts = MachineFacts { cpus: 2, smt: false, ram_bytes: 512 * MIB };

fn text(text: &str) -> Option<Text> {
    Some(Text::new(text).unwrap())
}

#[test]
fn every_structure_is_there_once_with_its_length_and_a_handle_of_its_own() {
    let all = found(&Identity::default(), &SMALL);
    let kinds: Vec<_> = all.iter().map(|found| (found.kind(), found.fields[1])).collect();
    // Lengths of version 3.0.
    let wanted = [
        (0, 24),
        (1, 27),
        (2, 15),
        (3, 22),
        (4, 48),
        (16, 23),
        (17, 40),
        (19, 31),
        (32, 11),
        (127, 4),
    ];
    assert_eq!(kinds, wanted);
    let mut handles: Vec<_> = all.iter().map(|found| found.number(2, 2)).collect();
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), all.len());
}

#[test]
fn a_machine_that_nobody_named_has_a_name_and_no_number() {
    let all = found(&Identity::default(), &SMALL);
    let system = of(&all, 1)[0];
    assert_eq!((system.text(4), system.text(5), system.text(7)), ("vmm", "vmm", ""));
    assert_eq!(system.fields[8..24], [0; 16]);
    // Linux takes a BIOS without a date for an older one.
    assert_eq!(of(&all, 0)[0].text(8), "01/01/2026");
}

#[test]
fn an_identity_is_said_where_guests_look_for_it() {
    let identity = Identity {
        vendor: text("Amazon EC2"),
        product: text("m7i.large"),
        version: text("1"),
        serial: text("ds=nocloud;h=name"),
        uuid: "ec2e1916-9099-7c05-8a4b-00a0c93ec93b".parse().unwrap(),
        asset_tag: text("i-0123456789abcdef0"),
    };
    let all = found(&identity, &SMALL);
    for (kind, at) in [(0, 4), (1, 4), (2, 4), (3, 4)] {
        assert_eq!(of(&all, kind)[0].text(at), "Amazon EC2");
    }
    let system = of(&all, 1)[0];
    assert_eq!((system.text(5), system.text(6)), ("m7i.large", "1"));
    assert_eq!(system.text(7), "ds=nocloud;h=name");
    assert_eq!(system.fields[8..12], [0x16, 0x19, 0x2E, 0xEC]);
    for (kind, at) in [(2, 8), (3, 8)] {
        assert_eq!(of(&all, kind)[0].text(at), "i-0123456789abcdef0");
    }
}

#[test]
fn each_two_cpus_are_the_threads_of_a_core_where_that_is_asked_for() {
    for (cpus, cores, kind) in [(1, 1, 0b00100), (2, 1, 0b10100), (6, 3, 0b11100)] {
        let facts = MachineFacts { cpus, smt: true, ..SMALL };
        let all = found(&Identity::default(), &facts);
        let cpu = of(&all, 4)[0];
        assert_eq!(cpu.fields[0x23..0x26], [cores, cores, cpus]);
        assert_eq!(cpu.number(0x26, 2), kind);
        let counts = [0x2A, 0x2C, 0x2E].map(|at| cpu.number(at, 2));
        assert_eq!(counts, [cores, cores, cpus].map(u64::from));
    }
}

#[test]
fn cpus_are_cores_of_one_processor() {
    for cpus in [1, 2, MAX_CPUS] {
        let all = found(&Identity::default(), &MachineFacts { cpus, ..SMALL });
        let cpu = of(&all, 4)[0];
        assert_eq!(cpu.fields[0x23..0x26], [cpus; 3]);
        for at in [0x2A, 0x2C, 0x2E] {
            assert_eq!(cpu.number(at, 2), u64::from(cpus));
        }
    }
}

#[test]
fn memory_is_told_in_small_and_large_machines() {
    let ram = |ram_bytes| found(&Identity::default(), &MachineFacts { ram_bytes, ..SMALL });
    let all = ram(512 * MIB);
    assert_eq!(of(&all, 16)[0].number(7, 4), 512 * 1024);
    assert_eq!(of(&all, 17)[0].number(0x0C, 2), 512);
    let low = of(&all, 19)[0];
    assert_eq!((low.number(4, 4), low.number(8, 4)), (0, 512 * 1024 - 1));

    let all = ram(64 * GIB);
    assert_eq!(of(&all, 16)[0].number(7, 4), 64 << 20);
    assert_eq!(of(&all, 17)[0].number(0x0C, 2), 0x7FFF);
    assert_eq!(of(&all, 17)[0].number(0x1C, 4), 64 << 10);
    let ranges = of(&all, 19);
    assert_eq!(ranges[0].number(8, 4), (3 << 20) - 1);
    assert_eq!((ranges[1].number(4, 4), ranges[1].number(8, 4)), (4 << 20, (65 << 20) - 1));

    let all = ram(8 << 40);
    assert_eq!(of(&all, 16)[0].number(7, 4), 1 << 31);
    assert_eq!(of(&all, 16)[0].number(15, 8), 8 << 40);
    assert_eq!(of(&all, 17)[0].number(0x1C, 4), 8 << 20);
    let high = of(&all, 19)[1];
    assert_eq!((high.number(4, 4), high.number(8, 4)), (0xFFFF_FFFF, 0xFFFF_FFFF));
    assert_eq!((high.number(15, 8), high.number(23, 8)), (4 * GIB, (8 << 40) + GIB - 1));
}

#[test]
fn texts_are_printable_and_not_too_long() {
    assert!(Text::new(&"x".repeat(64)).is_ok());
    for bad in
        [String::new(), "x".repeat(65), "a\0b".into(), "a\nb".into(), "é".into(), "\x7f".into()]
    {
        assert_eq!(Text::new(&bad), Err(TextError), "{bad:?}");
    }
    assert_eq!(TextError.to_string(), "write 1 to 64 printable ASCII characters");
}

proptest! {
    #[test]
    fn whatever_is_said_is_found_again(
        texts in prop::collection::vec(prop::option::of("[ -~]{1,64}"), 5),
        uuid: [u8; 16],
        cpus in 1..=MAX_CPUS,
        mib in 1u64..(8 << 20),
    ) {
        let mut said = texts.iter().map(|text| text.as_deref().map(|text| Text::new(text).unwrap()));
        let mut next = || said.next().flatten();
        let identity = Identity {
            vendor: next(), product: next(), version: next(), serial: next(), asset_tag: next(),
            uuid: Guid(uuid),
        };
        let all = found(&identity, &MachineFacts { cpus, smt: false, ram_bytes: mib * MIB });
        let system = of(&all, 1)[0];
        let wanted = |nth: usize, default| texts[nth].as_deref().unwrap_or(default).to_owned();
        prop_assert_eq!(system.text(4), wanted(0, "vmm"));
        prop_assert_eq!(system.text(5), wanted(1, "vmm"));
        prop_assert_eq!(system.text(6), wanted(2, ""));
        prop_assert_eq!(system.text(7), wanted(3, ""));
        prop_assert_eq!(of(&all, 3)[0].text(8), wanted(4, ""));
        prop_assert_eq!(&system.fields[8..24], &uuid);
        prop_assert_eq!(all.last().unwrap().kind(), 127);
    }

    #[test]
    fn no_other_text_is_taken(text in "\\PC{0,80}|[\\x00-\\x1f]{1,3}") {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7F).contains(&b));
        prop_assert_eq!(Text::new(&text).is_ok(), fits);
    }
}

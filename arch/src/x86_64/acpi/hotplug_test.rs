//! The terms, byte by byte where a guest depends on them.

use super::*;

fn terms() -> Vec<u8> {
    let mut body = Vec::new();
    slots(&mut body);
    body
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

#[test]
fn the_registers_are_three_double_words_at_their_ports() {
    let terms = terms();
    // OperationRegion (HPRG, SystemIO, 0x610, 12), then Field (HPRG, DWordAcc, NoLock, WriteAsZeros).
    assert_eq!(terms[..13], *b"\x5B\x80HPRG\x01\x0B\x10\x06\x0A\x0C\x5B");
    assert_eq!(terms[13..35], *b"\x81\x15HPRG\x43HPUP\x20HPDN\x20HPEJ\x20");
}

#[test]
fn each_slot_has_its_address_its_number_and_its_own_bit_to_eject() {
    let terms = terms();
    for slot in 1..32u8 {
        let name = format!("S{slot:03}");
        // The device and a notification for each of the two causes.
        assert_eq!(count(&terms, name.as_bytes()), 3, "{name}");
        let address: &[u8] = &(u32::from(slot) << 16).to_le_bytes();
        assert_eq!(count(&terms, &[b"_ADR\x0C", address].concat()), 1, "{name}");
        let bit: &[u8] = &bit(slot).to_le_bytes();
        let store = match slot {
            // AML has shorter forms for small numbers.
            1..8 => [b"\x70\x0A", &bit[..1], b"HPEJ"].concat(),
            8..16 => [b"\x70\x0B", &bit[..2], b"HPEJ"].concat(),
            _ => [b"\x70\x0C", bit, b"HPEJ"].concat(),
        };
        assert_eq!(count(&terms, &store), 1, "{name}");
    }
    assert_eq!(count(&terms, b"_EJ0\x09"), 31, "serialized, with one argument");
    assert_eq!(count(&terms, b"S000"), 0, "the bridge stays");
}

#[test]
fn news_are_read_once_and_each_notifies_its_device() {
    let terms = terms();
    assert_eq!((count(&terms, b"\x70HPUP\x60"), count(&terms, b"\x70HPDN\x61")), (1, 1));
    assert_eq!((count(&terms, b"HPUP"), count(&terms, b"HPDN")), (2, 2), "and in the field");
    // Notify (Snnn, 1) and Notify (Snnn, 3).
    for (slot, name) in [(1u8, b"S001"), (31, b"S031")] {
        assert_eq!(count(&terms, &[b"\x86", &name[..], b"\x01"].concat()), 1, "{slot}");
        assert_eq!(count(&terms, &[b"\x86", &name[..], b"\x0A\x03"].concat()), 1, "{slot}");
    }
}

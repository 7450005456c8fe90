//! Tests of what a guest finds of its identity, against bytes written out by hand.

use super::*;

/// A name with a text, as AML has it (ACPI 6.5, 20.2).
fn text(name: &str, text: &str) -> Vec<u8> {
    [&[0x08], name.as_bytes(), &[0x0d], text.as_bytes(), &[0]].concat()
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn drivers_find_both_by_their_names_and_where_their_memory_is() {
    let mut body = Vec::new();
    devices(&mut body);
    for (name, value) in [
        ("_HID", "VMGENCTR"),
        ("_CID", "VM_Gen_Counter"),
        ("_DDN", "VM_Gen_Counter"),
        ("_HID", "AMZNC10C"),
        ("_CID", "VMCLOCK"),
    ] {
        assert!(has(&body, &text(name, value)), "{name} {value}");
    }
    // A package of two numbers: 0xee100, and its upper half.
    let address = [&b"\x08ADDR\x12"[..], &[8, 2, 0x0c, 0x00, 0xe1, 0x0e, 0x00, 0x00]].concat();
    assert!(has(&body, &address), "{body:02x?}");
    // A fixed range, writable, of a page at 0xef000.
    let page = [0x86, 9, 0, 1, 0x00, 0xf0, 0x0e, 0x00, 0x00, 0x10, 0x00, 0x00];
    assert!(has(&body, &page), "{body:02x?}");
}

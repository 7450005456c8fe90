//! How GUIDs are written, and how they lie in tables.

use proptest::prelude::*;

use super::*;

#[test]
fn the_first_three_groups_are_little_endian_in_tables() {
    let guid: Guid = "ec2e1916-9099-7c05-8a4b-00a0c93ec93b".parse().unwrap();
    let bytes = *b"\x16\x19\x2E\xEC\x99\x90\x05\x7C\x8A\x4B\x00\xA0\xC9\x3E\xC9\x3B";
    assert_eq!(guid.0, bytes);
    assert_eq!(guid.to_string(), "ec2e1916-9099-7c05-8a4b-00a0c93ec93b");
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "ec2e1916",
        "ec2e1916-9099-7c05-8a4b-00a0c93ec93",
        "ec2e1916-9099-7c05-8a4b-00a0c93ec93bb",
        "ec2e1916-9099-7c05-8a4b-00a0c93ec93b-",
        "ec2e19169-099-7c05-8a4b-00a0c93ec93b",
        "+c2e1916-9099-7c05-8a4b-00a0c93ec93b",
        "éc2e191-9099-7c05-8a4b-00a0c93ec93b",
    ] {
        assert_eq!(text.parse::<Guid>(), Err(GuidError), "{text}");
    }
}

proptest! {
    #[test]
    fn every_guid_reads_back_as_it_was_written(bytes: [u8; 16]) {
        prop_assert_eq!(Guid(bytes).to_string().parse(), Ok(Guid(bytes)));
        prop_assert_eq!(Guid(bytes).to_string().to_uppercase().parse(), Ok(Guid(bytes)));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Guid>();
    }
}

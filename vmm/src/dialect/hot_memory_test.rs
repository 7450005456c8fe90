//! Tests of `/hotplug/memory`.

use super::*;
use crate::dialect::read;

fn spec(body: &str) -> HotMemorySpec {
    read::<MemoryHotplug>(body.as_bytes()).unwrap().into()
}

#[test]
fn sizes_are_as_usual_if_nobody_says_otherwise() {
    assert_eq!(spec(r#"{"total_size_mib":1024}"#), HotMemorySpec::of(1024));
    let all =
        r#"{"total_size_mib":4096,"block_size_mib":4,"slot_size_mib":256,"requested_size_mib":64}"#;
    let whole = HotMemorySpec { total_mib: 4096, block_mib: 4, slot_mib: 256, requested_mib: 64 };
    assert_eq!(spec(all), whole);
    assert_eq!(serde_json::to_string(&MemoryHotplug::from(&whole)).unwrap(), all);
    let none = MemoryHotplug::from(&HotMemorySpec { requested_mib: 0, ..whole });
    assert!(!serde_json::to_string(&none).unwrap().contains("requested"), "Firecracker has none");
}

#[test]
fn what_is_no_number_of_mib_is_refused() {
    for (body, why) in [
        ("{}", "missing field `total_size_mib`"),
        (r#"{"total_size_mib":4294967296}"#, "total_size_mib: invalid value: integer `4294967296`"),
        (r#"{"total_size_mib":-1}"#, "total_size_mib: invalid value: integer `-1`"),
        (r#"{"total_size_mib":1024,"node":0}"#, "unknown field `node`"),
    ] {
        let said = read::<MemoryHotplug>(body.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    let said = read::<MemoryHotplugPatch>(br#"{"requested_size_mib":4294967296}"#).unwrap_err();
    assert!(said.to_string().contains("integer `4294967296`"), "{said}");
}

#[test]
fn it_is_shown_with_what_the_guest_has() {
    let spec = HotMemorySpec { requested_mib: 128, ..HotMemorySpec::of(1024) };
    let shown = shown(&HotMemoryView { spec, plugged: 64 << 20 });
    assert_eq!(
        shown.to_string(),
        r#"{"block_size_mib":2,"plugged_size_mib":64,"requested_size_mib":128,"slot_size_mib":128,"total_size_mib":1024}"#
    );
}

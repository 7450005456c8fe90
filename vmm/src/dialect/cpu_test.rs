//! Tests of CPU templates as people write them.

use super::*;

fn template(text: &str) -> Result<Template, BodyError> {
    crate::dialect::read::<CpuConfig>(text.as_bytes())?.try_into()
}

#[test]
fn a_template_names_leaves_msrs_and_capabilities() {
    let text = r#"{
        "kvm_capabilities": ["121", "!56"],
        "cpuid_modifiers": [{"leaf": "0x80000001", "subleaf": "0b0", "flags": 0, "modifiers": [
            {"register": "ecx", "bitmap": "0bxxxx_01x1"}, {"register": "eax", "bitmap": "0b0"}]}],
        "msr_modifiers": [{"addr": "266", "bitmap": "0b1x0"}]}"#;
    let expected = Template {
        leaves: vec![LeafPatch {
            leaf: 0x8000_0001,
            subleaf: 0,
            changes: vec![
                (Register::Ecx, Bits { mask: 0b1101, value: 0b0101 }),
                (Register::Eax, Bits { mask: 1, value: 0 }),
            ],
        }],
        msrs: vec![MsrPatch { index: 266, bits: Bits { mask: 0b101, value: 0b100 } }],
        capabilities: vec![121],
    };
    assert_eq!(template(text), Ok(expected));
    assert_eq!(template("{}"), Ok(Template::default()));
}

#[test]
fn what_is_no_number_and_no_bitmap_is_named() {
    let leaf = |leaf: &str, bitmap: &str| {
        format!(
            r#"{{"cpuid_modifiers":[{{"leaf":"{leaf}","subleaf":"0","flags":0,"modifiers":[{{"register":"ebx","bitmap":"{bitmap}"}}]}}]}}"#
        )
    };
    let long = format!("0b{}", "x".repeat(33));
    for (text, part) in [
        (r#"{"kvm_capabilities":["many"]}"#.to_owned(), "\"many\" is no number of a capability"),
        (leaf("seven", "0b1"), "\"seven\" is no number of 32 bits"),
        (leaf("0x100000000", "0b1"), "is no number of 32 bits"),
        (leaf("0x+7", "0b1"), "is no number of 32 bits"),
        (leaf("7", "1"), "\"1\" is no bitmap"),
        (leaf("7", "0b"), "\"0b\" is no bitmap"),
        (leaf("7", "0b2"), "\"0b2\" is no bitmap"),
        (leaf("7", &long), "is no bitmap"),
        (r#"{"reg_modifiers":[]}"#.to_owned(), "unknown field `reg_modifiers`"),
    ] {
        let error = template(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

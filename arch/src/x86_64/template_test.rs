//! Templates on a CPUID of two leaves, and on MSRs.

use super::*;

fn cpuid() -> CpuId {
    let entry =
        |function, index, ebx| kvm_cpuid_entry2 { function, index, ebx, ..Default::default() };
    CpuId::from_entries(&[entry(7, 0, 0xffff_0000), entry(7, 1, 1)]).unwrap()
}

fn patch(leaf: u32, subleaf: u32, mask: u64, value: u64) -> LeafPatch {
    LeafPatch { leaf, subleaf, changes: vec![(Register::Ebx, Bits { mask, value })] }
}

#[test]
fn named_bits_change_and_all_others_stay() {
    let template = Template {
        leaves: vec![patch(7, 0, 0xff00_00ff, 0x0f00_000f), patch(7, 1, 3, 2)],
        ..Template::default()
    };
    let mut shaped = cpuid();
    template.shape(&mut shaped).unwrap();
    let ebx: Vec<_> = shaped.as_slice().iter().map(|entry| entry.ebx).collect();
    assert_eq!(ebx, [0x0fff_000f, 2]);

    let msrs = vec![MsrPatch { index: 0x10a, bits: Bits { mask: 0xf, value: 0x5 } }];
    let template = Template { msrs, ..Template::default() };
    let mut held = template.msrs_to_read();
    assert_eq!(held[0].index, 0x10a);
    held[0].data = 0xffff_ffff_ffff_ff0a;
    let set = template.msrs_to_set(&held);
    assert_eq!((set[0].index, set[0].data), (0x10a, 0xffff_ffff_ffff_ff05));
}

#[test]
fn a_leaf_that_is_not_there_is_named() {
    let template = Template { leaves: vec![patch(7, 2, 1, 1)], ..Template::default() };
    let refused = template.shape(&mut cpuid());
    assert_eq!(refused, Err(TemplateError::NoLeaf { leaf: 7, subleaf: 2 }));
}

#[test]
fn an_empty_template_changes_nothing() {
    let mut shaped = cpuid();
    Template::default().shape(&mut shaped).unwrap();
    assert_eq!(shaped.as_slice(), cpuid().as_slice());
}

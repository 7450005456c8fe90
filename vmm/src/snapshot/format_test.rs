//! Tests of the state's file: whole, damaged, of other versions.

use std::fs;

use devices::net::service::store::Documents;
use kvm_bindings::{kvm_cpuid_entry2, kvm_regs};
use serde_json::json;

use super::*;
use crate::kvm::raw::Raw;
use crate::kvm::vcpu_state::{Msr, VcpuState};
use crate::kvm::vm_state::VmState;
use crate::snapshot::kept::Bytes;
use crate::vm::saved::PartState;

fn body() -> Body {
    let vcpu = VcpuState {
        mp_state: 0,
        regs: Raw(kvm_regs { rip: 0x1234, ..Default::default() }),
        sregs: Raw::default(),
        xsave: vec![0x5a; 64],
        xcrs: Raw::default(),
        debug_registers: Raw::default(),
        lapic: Raw::default(),
        tsc_khz: Some(2_000_000),
        tsc_offset: Some(5),
        cpuid: vec![Raw(kvm_cpuid_entry2 { function: 1, ..Default::default() })],
        msrs: vec![Msr { index: 0x10, data: u64::MAX }],
        events: Raw::default(),
    };
    let kvm = VmState {
        pic_master: Raw::default(),
        pic_slave: Raw::default(),
        ioapic: Raw::default(),
        pit: Raw::default(),
        clock: Raw::default(),
    };
    let saved = device_core::snapshot::Saved {
        kind: "virtio-net".into(),
        version: 3,
        state: json!({ "queues": [1, 2] }),
    };
    let devices = vec![PartState { id: "eth0".into(), saved }];
    let state = MachineState { vcpus: vec![vcpu], kvm, board: Vec::new(), devices };
    let memory = Sums { bytes: 128 << 20, data_bytes: 4096, pieces: vec![(0, 7), (63, 9)] };
    let metadata = Documents { machine: None, user: Some(json!({ "a": null })) };
    let kept = Kept { seed: Some(Bytes(vec![1, 2, 0xff])), metadata };
    Body { config: json!({ "machine-config": { "vcpu_count": 1 } }), state, kept, memory }
}

fn head() -> Head {
    Head {
        vmm_version: "0.1.0".into(),
        architecture: ARCHITECTURE.into(),
        kind: "full".into(),
        created_s: 1_700_000_000,
        vcpus: 1,
        memory_bytes: 128 << 20,
        memory_data_bytes: 4096,
        parts: vec![Part { id: "eth0".into(), kind: "virtio-net".into(), version: 3 }],
    }
}

/// A file of such a machine, as bytes.
fn file() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    write(&File::create(&path).unwrap(), &head(), &body()).unwrap();
    fs::read(path).unwrap()
}

/// The same with other bytes of the prefix and head, sealed as a later vmm would.
fn sealed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = file();
    change(&mut bytes);
    sealed_again(bytes)
}

#[test]
fn what_was_written_is_read() {
    let read = unseal(file()).unwrap();
    assert_eq!((read.head().unwrap(), read.format()), (head(), FORMAT));
    let (read, wrote) = (read.body().unwrap(), body());
    let text = |body: &Body| serde_json::to_value(body).unwrap();
    assert_eq!(text(&read), text(&wrote));
    assert_eq!(read.state.vcpus[0].msrs, [Msr { index: 0x10, data: u64::MAX }]);
}

#[test]
fn no_byte_can_be_another_unnoticed() {
    let whole = file();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(unseal(bytes).is_err(), "byte {at}");
    }
}

#[test]
fn nothing_can_be_cut_off_or_added() {
    let whole = file();
    for len in (0..whole.len()).step_by(7) {
        assert!(unseal(whole[..len].to_vec()).is_err(), "{len} bytes");
    }
    let longer = unseal([&whole[..], b" "].concat());
    assert!(matches!(longer, Err(ReadError::Length { .. })));
}

#[test]
fn a_later_format_is_refused_by_its_number_and_its_head_is_read() {
    let later = unseal(sealed(|bytes| bytes[8] = 9)).unwrap();
    assert_eq!(later.head().unwrap(), head());
    let error = later.body().unwrap_err().to_string();
    assert!(error.starts_with("its format is 9; this vmm reads 1 and older"), "{error}");
}

#[test]
fn another_architecture_is_refused_by_its_name() {
    let bytes = sealed(|bytes| {
        let own = br#""architecture":"x86_64""#;
        let at = bytes.windows(own.len()).position(|part| part == own).unwrap();
        bytes[at..at + own.len()].copy_from_slice(br#""architecture":"s390x_""#);
    });
    let error = unseal(bytes).unwrap().body().unwrap_err().to_string();
    assert_eq!(error, format!("it is of s390x_, and this vmm runs {ARCHITECTURE}"));
}

#[test]
fn a_sealed_body_of_another_form_is_refused_by_the_place() {
    let bytes = sealed(|bytes| {
        let own = b"\"mp_state\"";
        let at = bytes.windows(own.len()).position(|part| part == own).unwrap();
        bytes[at..at + own.len()].copy_from_slice(b"\"mp_stall\"");
    });
    let error = unseal(bytes).unwrap().body().unwrap_err();
    let ReadError::Form { part, source, .. } = &error else { panic!("{error}") };
    assert_eq!(*part, "body");
    assert!(source.to_string().contains("mp_stall"), "{source}");
}

#[test]
fn what_is_no_file_of_ours_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(folder.path()), Err(ReadError::NoFile)));
    let path = folder.path().join("state");
    fs::write(&path, "x".repeat(100)).unwrap();
    assert!(matches!(open(&path), Err(ReadError::NotOurs)));
    fs::write(&path, "x").unwrap();
    assert!(matches!(open(&path), Err(ReadError::Size { .. })));
    File::create(&path).unwrap().set_len(MOST + 1).unwrap();
    assert!(matches!(open(&path), Err(ReadError::Size { .. })));
    nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(open(&folder.path().join("pipe")), Err(ReadError::NoFile)));
}

//! A snapshot's state for tests.

use devices::net::service::store::Documents;
use kvm_bindings::{kvm_cpuid_entry2, kvm_regs};
use serde_json::json;

use super::format::{ARCHITECTURE, Body, Head, Part};
use super::kept::{Bytes, Kept};
use super::memory_file::Sums;
use super::turn::Turn;
use crate::kvm::raw::Raw;
use crate::kvm::vcpu_state::{Msr, VcpuState};
use crate::kvm::vm_state::VmState;
use crate::vm::saved::{MachineState, PartState};

/// What is in one.
pub fn body() -> Body {
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
    let state = MachineState {
        vcpus: vec![vcpu],
        kvm,
        windows: vec![(0xc000_0000, 4096)],
        board: Vec::new(),
        devices,
    };
    let memory =
        Sums { bytes: 128 << 20, data_bytes: 4096, pieces: vec![(0, 7), (63, 9)], changed: None };
    let metadata = Documents { machine: None, user: Some(json!({ "a": null })) };
    let kept = Kept { seed: Some(Bytes(vec![1, 2, 0xff])), metadata };
    Body { config: json!({ "machine-config": { "vcpu_count": 1 } }), state, kept, memory }
}

/// What it says of itself.
pub fn head() -> Head {
    Head {
        vmm_version: "0.1.0".into(),
        architecture: ARCHITECTURE.into(),
        kind: "full".into(),
        id: "00112233445566778899aabbccddeeff".into(),
        turn: Turn::A,
        base: None,
        created_s: 1_700_000_000,
        vcpus: 1,
        memory_bytes: 128 << 20,
        memory_data_bytes: 4096,
        parts: vec![Part { id: "eth0".into(), kind: "virtio-net".into(), version: 3 }],
    }
}

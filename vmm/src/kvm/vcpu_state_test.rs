//! Tests of vCPUs' states against the kernel; they need `/dev/kvm`, of any kind.

use std::sync::Arc;

use super::*;
use crate::kvm;

/// Two vCPUs of VMs of their own, and what the host has.
fn vcpus() -> ([(Arc<VmFd>, VcpuFd); 2], HostFacts) {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let make = || {
        let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
        let vm = kvm::vm::create(&kvm, &ram).unwrap();
        // The VM is gone from KVM's view only when its last user is.
        std::mem::forget(ram);
        let vcpu = vm.create_vcpu(0).unwrap();
        (vm, vcpu)
    };
    let both = [make(), make()];
    let lenient = !kvm::probe::has_hardware_virtualization();
    let host = HostFacts::of(&kvm, &both[0].0, lenient).unwrap();
    both[0].1.set_cpuid2(&cpuid()).unwrap();
    (both, host)
}

fn cpuid() -> CpuId {
    kvm::vm::supported_cpuid(&kvm::probe::open().unwrap()).unwrap()
}

#[test]
fn a_state_comes_back_as_it_was_by_way_of_its_text() {
    let ([(_vm, one), (_other_vm, other)], host) = vcpus();
    let regs = kvm_regs { rax: 0x1234, rip: 0x7000, rflags: 2, ..Default::default() };
    one.set_regs(&regs).unwrap();
    let mut debug = one.get_debug_regs().unwrap();
    debug.db[0] = 0x5000;
    one.set_debug_regs(&debug).unwrap();
    let state = save(&one, &cpuid(), &host).unwrap();
    let text = serde_json::to_string(&state).unwrap();
    let read: VcpuState = serde_json::from_str(&text).unwrap();
    load(&other, &read, &host).unwrap();
    let again = save(&other, &cpuid(), &host).unwrap();

    assert_eq!((again.regs.0, again.debug_registers.0.db[0]), (regs, 0x5000));
    assert_eq!(again.xsave, state.xsave);
    assert_eq!(again.mp_state, state.mp_state);
    let sregs = |state: &VcpuState| (state.sregs.0.cr0, state.sregs.0.cs, state.sregs.0.apic_base);
    assert_eq!(sregs(&again), sregs(&state));
    assert_eq!(again.cpuid.len(), state.cpuid.len());
    // Clocks go on.
    let rest = |state: &VcpuState| {
        let clocks = [IA32_TIME_STAMP_COUNTER, IA32_TSC_DEADLINE];
        let msrs = state.msrs.iter().filter(|msr| !clocks.contains(&msr.index));
        msrs.copied().collect::<Vec<_>>()
    };
    assert_eq!(rest(&again), rest(&state));
}

#[test]
fn a_floating_point_state_of_another_size_is_refused_with_both_sizes() {
    let ([(_vm, one), (_other_vm, other)], host) = vcpus();
    for len in [0, 4095, host.xsave + 4] {
        let state = VcpuState { xsave: vec![0; len], ..save(&one, &cpuid(), &host).unwrap() };
        let error = load(&other, &state, &host).unwrap_err().to_string();
        assert!(error.contains(&format!("has {len} bytes")), "{error}");
        assert!(error.contains(&host.xsave.to_string()), "{error}");
    }
}

#[test]
fn an_msr_that_kvm_refuses_is_named_or_left_out() {
    let ([(_vm, one), _], host) = vcpus();
    let nothing = Msr { index: 0x4B56_4DEE, data: 7 };
    let strict = HostFacts { lenient: false, ..host.clone() };
    let error = write_msrs(&one, &[nothing], &strict).unwrap_err().to_string();
    assert_eq!(error, "KVM refused MSR 0x4b564dee with 0x7");
    write_msrs(&one, &[nothing], &HostFacts { lenient: true, ..host }).unwrap();
}

#[test]
fn a_deadline_of_nothing_becomes_one_that_is_over_and_is_set_last() {
    let msr = |index, data| Msr { index, data };
    let all = [msr(IA32_TSC_DEADLINE, 0), msr(IA32_TIME_STAMP_COUNTER, 500), msr(0x1B, 9)];
    let (first, last) = msrs_to_set(&all);
    assert_eq!(first, [msr(IA32_TIME_STAMP_COUNTER, 500), msr(0x1B, 9)]);
    assert_eq!(last, [msr(IA32_TSC_DEADLINE, 500)]);
    let (_, last) = msrs_to_set(&[msr(IA32_TSC_DEADLINE, 90), msr(IA32_TIME_STAMP_COUNTER, 5)]);
    assert_eq!(last, [msr(IA32_TSC_DEADLINE, 90)]);
}

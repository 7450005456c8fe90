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
    let pace = load(&other, &read, &host).unwrap();
    load_time(&other, &read, &Passage::default(), pace, &host).unwrap();
    load_rest(&other, &read, &Passage::default(), &host).unwrap();
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
fn a_clock_of_a_host_of_the_same_kind_is_taken_and_another_is_made_up_for_or_refused() {
    let ([(_vm, one), (_other_vm, other)], _) = vcpus();
    let Ok(own) = one.get_tsc_khz() else { return };
    assert_eq!(set_clock(&one, Some(own + own / 5000)).unwrap(), Pace::Host);
    assert_eq!(set_clock(&one, None).unwrap(), Pace::Host);
    let fast = own + own / 100;
    match set_clock(&other, Some(fast)) {
        Ok(pace) => assert_eq!(pace, Pace::Scaled),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(&format!("{fast} kHz")), "{error}");
            assert!(error.contains(&format!("{own} kHz")), "{error}");
        }
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
fn a_deadline_of_nothing_becomes_one_that_is_over() {
    let ([(_vm, one), _], host) = vcpus();
    let some = save(&one, &cpuid(), &host).unwrap();
    let msr = |index, data| Msr { index, data };
    let of = |deadline, khz| VcpuState {
        msrs: vec![msr(IA32_TSC_DEADLINE, deadline), msr(IA32_TIME_STAMP_COUNTER, 500)],
        tsc_khz: khz,
        ..some.clone()
    };
    let none = Passage::default();
    let minute = Passage { nanos: 60_000_000_000, host_tsc: None };
    let set = |deadline, khz, passage| deadlines(&of(deadline, khz), passage)[0].data;
    assert_eq!(set(0, Some(1_000_000), &none), 500);
    assert_eq!(set(0, Some(1_000_000), &minute), 60_000_000_500);
    assert_eq!(set(0, None, &minute), 500);
    assert_eq!(set(90, Some(1_000_000), &minute), 90);
}

//! Tests of time-stamp counters, some of them against the kernel; these need `/dev/kvm`, of any kind.

use kvm_ioctls::VcpuFd;

use super::*;
use crate::kvm;

/// 3 GHz.
const KHZ: u32 = 3_000_000;

fn reading(clock: u64, host_tsc: u64, flags: u32) -> kvm_clock_data {
    kvm_clock_data { clock, host_tsc, flags, ..Default::default() }
}

#[test]
fn a_counter_goes_on_with_the_clock_on_another_host() {
    let then = reading(5_000_000_000, 1 << 50, KVM_CLOCK_HOST_TSC);
    // A minute later, on a host that has just booted.
    let now = reading(65_000_000_000, 700, KVM_CLOCK_HOST_TSC);
    let passage = Passage::between(&then, &now);
    assert_eq!(passage.ticks(KHZ), 180_000_000_000);
    let before = 0u64.wrapping_sub(1 << 49);
    let after = passage.offset(before, KHZ).unwrap();
    let guest_then = then.host_tsc.wrapping_add(before);
    assert_eq!(now.host_tsc.wrapping_add(after), guest_then + 180_000_000_000);
}

#[test]
fn a_counter_whose_clock_was_frozen_goes_on_from_where_it_was() {
    let then = reading(5_000_000_000, 1000, KVM_CLOCK_HOST_TSC);
    let now = reading(5_000_000_000, 9_000_000, KVM_CLOCK_HOST_TSC);
    let after = Passage::between(&then, &now).offset(50, KHZ).unwrap();
    assert_eq!(now.host_tsc.wrapping_add(after), 1050);
}

#[test]
fn a_host_that_does_not_tell_leaves_the_offset_alone_and_no_number_is_too_large() {
    for (then, now) in [(0, KVM_CLOCK_HOST_TSC), (KVM_CLOCK_HOST_TSC, 0)] {
        let passage = Passage::between(&reading(1, 2, then), &reading(3, 4, now));
        assert_eq!((passage.nanos, passage.offset(7, KHZ)), (2, None));
    }
    let back = Passage::between(&reading(9, 0, 0), &reading(3, 0, 0));
    assert_eq!(back.ticks(KHZ), 0);
    let for_ever = Passage { nanos: u64::MAX, host_tsc: Some((0, u64::MAX)) };
    assert_eq!(for_ever.ticks(u32::MAX), u64::MAX);
    assert!(for_ever.offset(u64::MAX, u32::MAX).is_some());
}

#[test]
fn an_offset_is_what_it_was_set_to_where_kvm_has_one() {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let vm = kvm.create_vm().unwrap();
    let vcpu: VcpuFd = vm.create_vcpu(0).unwrap();
    match offset(&vcpu) {
        Some(_) => {
            set_offset(&vcpu, 0u64.wrapping_sub(123_456)).unwrap();
            // Where the host has no virtualization in hardware, KVM takes it and does nothing.
            if kvm::probe::has_hardware_virtualization() {
                assert_eq!(offset(&vcpu), Some(0u64.wrapping_sub(123_456)));
            }
        }
        None => assert!(set_offset(&vcpu, 0).is_err()),
    }
}

//! Tests of a VM's state against the kernel; they need `/dev/kvm`, of any kind.

use std::sync::Arc;

use super::*;
use crate::kvm;

const SECOND: u64 = 1_000_000_000;

fn vm() -> Arc<VmFd> {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    // The VM is gone from KVM's view only when its last user is.
    std::mem::forget(ram);
    vm
}

#[test]
fn a_clock_that_is_frozen_goes_on_from_where_it_was_and_another_with_the_time_that_passed() {
    let one = vm();
    let mut state = save(&one).unwrap();
    let clock = &mut state.clock.0;
    assert_ne!(clock.flags & KVM_CLOCK_REALTIME, 0);
    // As if that had been a minute ago.
    clock.clock = 1000 * SECOND;
    clock.realtime -= 60 * SECOND;

    let frozen = vm();
    let passage = load(&frozen, &state, false).unwrap();
    assert!(passage.nanos < 30 * SECOND, "{passage:?}");
    let advanced = vm();
    let passage = load(&advanced, &state, true).unwrap();
    assert!((60 * SECOND..90 * SECOND).contains(&passage.nanos), "{passage:?}");
    let shown = advanced.get_clock().unwrap().clock;
    assert!((1060 * SECOND..1090 * SECOND).contains(&shown), "{shown}");
}

#[test]
fn what_a_kernel_does_not_add_by_itself_is_added() {
    let then = kvm_clock_data {
        clock: 7 * SECOND,
        realtime: now_ns() - 60 * SECOND,
        flags: KVM_CLOCK_REALTIME | kvm_bindings::KVM_CLOCK_TSC_STABLE,
        ..Default::default()
    };
    let by_kvm = clock_to_set(&then, true, KVM_CLOCK_REALTIME);
    assert_eq!((by_kvm.clock, by_kvm.flags), (7 * SECOND, KVM_CLOCK_REALTIME));
    let by_us = clock_to_set(&then, true, 0);
    assert!((67 * SECOND..97 * SECOND).contains(&by_us.clock));
    assert_eq!(by_us.flags, 0);
    for known in [0, KVM_CLOCK_REALTIME] {
        let frozen = clock_to_set(&then, false, known);
        assert_eq!((frozen.clock, frozen.flags), (7 * SECOND, 0));
    }
    // A host whose clock is behind does not bring the guest's back.
    let ahead = kvm_clock_data { realtime: u64::MAX, ..then };
    assert_eq!(clock_to_set(&ahead, true, 0).clock, 7 * SECOND);
}

#[test]
fn controllers_and_timer_come_back_as_they_were() {
    let (one, other) = (vm(), vm());
    let mut state = save(&one).unwrap();
    // A page of the IOAPIC whose first pin goes somewhere (the union's bytes, behind a header of 24).
    state.pit.0.channels[0].count = 0x1234;
    load(&other, &state, false).unwrap();
    let again = save(&other).unwrap();
    let text = |part: &Raw<kvm_irqchip>| serde_json::to_string(part).unwrap();
    assert_eq!(text(&again.pic_master), text(&state.pic_master));
    assert_eq!(text(&again.pic_slave), text(&state.pic_slave));
    assert_eq!(text(&again.ioapic), text(&state.ioapic));
    assert_eq!(again.pit.0.channels[0].count, 0x1234);
}

//! Tests of bindings against the kernel; they need `/dev/kvm`, of any kind.

use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;
use crate::kvm;

const AT: u64 = 0xfe00_0050;

fn kicks() -> Kicks {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    // The VM is gone from KVM's view only when its last user is.
    std::mem::forget(ram);
    Kicks(vm)
}

#[test]
fn an_address_has_an_eventfd_for_each_value_until_it_is_dropped() {
    let (kicks, event) = (kicks(), EventFd::new(EFD_NONBLOCK).unwrap());
    let bound: Vec<_> = (0..3).map(|value| kicks.bind_value(AT, value, &event).unwrap()).collect();
    assert!(kicks.bind_value(AT, 1, &event).is_err(), "twice");
    kicks.bind_value(AT + 4, 1, &event).unwrap();
    drop(bound);
    kicks.bind_value(AT, 1, &event).unwrap();
}

#[test]
fn an_address_with_one_eventfd_for_all_values_has_no_other() {
    let (kicks, event) = (kicks(), EventFd::new(EFD_NONBLOCK).unwrap());
    let bound = kicks.bind(AT, &event).unwrap();
    assert!(kicks.bind(AT, &event).is_err());
    drop(bound);
    kicks.bind(AT, &event).unwrap();
}

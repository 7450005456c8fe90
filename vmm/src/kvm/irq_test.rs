//! Tests of vectors and routes against the kernel; they need `/dev/kvm`, of any kind.

use super::*;
use crate::kvm;

fn vectors(count: u16) -> Arc<dyn MsiSet> {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    let set = Msi::new(vm).allocate(count).unwrap();
    // The VM is gone from KVM's view only when its last user is, and routes never touch the memory.
    std::mem::forget(ram);
    set
}

fn to(index: u16, data: u32) -> Route {
    Route { index, to: Some(MsiMessage { address: 0xfee0_0000, data }) }
}

#[test]
fn a_masked_vector_keeps_its_fire_until_it_is_routed() {
    let set = vectors(2);
    let vector = set.vector(1).unwrap();
    assert!(!vector.is_pending());
    vector.fire();
    vector.fire();
    assert!(vector.is_pending());
    assert!(!set.vector(0).unwrap().is_pending());
    set.route(&[to(1, 0x30)]).unwrap();
    assert!(!vector.is_pending());
}

#[test]
fn a_routed_vector_is_never_pending_and_a_mask_makes_it_keep_fires_again() {
    let set = vectors(1);
    let vector = set.vector(0).unwrap();
    for round in 0..100 {
        set.route(&[to(0, 0x30 + round)]).unwrap();
        vector.fire();
        assert!(!vector.is_pending());
        set.route(&[Route { index: 0, to: None }]).unwrap();
        assert!(!vector.is_pending());
        vector.fire();
        assert!(vector.is_pending());
    }
}

#[test]
fn routes_past_the_end_are_ignored_and_masking_twice_is_no_error() {
    let set = vectors(1);
    assert!(set.vector(1).is_none());
    set.route(&[to(7, 1), Route { index: 0, to: None }, Route { index: 0, to: None }]).unwrap();
    set.route(&[to(0, 1), to(0, 1)]).unwrap();
    assert_eq!(set.count(), 1);
}

#[test]
fn vectors_run_out_with_an_error() {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let msi = Msi::new(kvm::vm::create(&kvm, &ram).unwrap());
    assert!(msi.allocate(u16::MAX).is_err());
    assert!(msi.allocate(8).is_ok());
}

#[test]
fn vectors_of_a_card_that_went_are_given_to_the_next() {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let msi = Msi::new(kvm::vm::create(&kvm, &ram).unwrap());
    let _first = msi.allocate(2).unwrap();
    for round in 0..10 {
        let set = msi.allocate(20).unwrap();
        assert_eq!(set.target(0), None, "round {round}: a route of the one before");
        set.route(&[to(0, round)]).unwrap();
        assert!(set.target(0).is_some());
        assert_eq!(msi.0.lock().sets.keys().last(), Some(&(FIRST_MSI_GSI + 2)));
    }
    assert_eq!(msi.0.lock().sets.len(), 1);
}

#[test]
fn numbers_are_given_from_the_lowest_gap_that_is_wide_enough() {
    let mut table = Table::default();
    let first = FIRST_MSI_GSI;
    assert_eq!(
        (table.take(3), table.take(5), table.take(1)),
        (Some(first), Some(first + 3), Some(first + 8))
    );
    table.sets.remove(&(first + 3));
    assert_eq!(table.take(6), Some(first + 9));
    assert_eq!((table.take(4), table.take(1)), (Some(first + 3), Some(first + 7)));
    assert_eq!(table.take(MAX_GSI), None);
    assert_eq!(table.take(MAX_GSI - first - 15), Some(first + 15));
    assert_eq!(table.take(1), None);
}

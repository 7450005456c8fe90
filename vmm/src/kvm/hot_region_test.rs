//! Tests of slots that come and go against the kernel; they need `/dev/kvm`, of any kind.

use arch::layout::AddressRange;
use vm_memory::{Bytes, GuestAddress, MemoryRegionAddress};

use super::*;
use crate::kvm;
use crate::memory::{Extent, HotExtent, map_all, release};

const BLOCK: u64 = 2 << 20;
const SLOT: u64 = 128 << 20;
const START: u64 = 4 << 30;

struct Test {
    slots: HotSlots,
    ram: GuestRam,
    vm: Arc<VmFd>,
}

/// Three slots, and RAM that is no whole number of 64 pages.
fn test(is_tracked: bool) -> Test {
    let range = AddressRange::new(START, START + 3 * SLOT);
    let extent = Extent { ram: (1 << 20) + 4096, hot: Some(HotExtent { range, block: BLOCK }) };
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = map_all(&extent, Pages::Small).unwrap();
    if is_tracked {
        dirty::begin(&ram);
    }
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    let reclaimer = Arc::new(Reclaimer::new(&ram, Pages::Small));
    assert!(HotSlots::fit(&kvm, 3) && !HotSlots::fit(&kvm, u64::MAX));
    let slots = HotSlots::of(&vm, &ram, SLOT, (Pages::Small, false), &reclaimer).unwrap();
    Test { slots, ram, vm }
}

impl Test {
    /// Slots that KVM has, by their numbers.
    fn shown(&self) -> Vec<usize> {
        let shown = self.slots.shown.lock().unwrap();
        (0..shown.len()).filter(|nth| shown[*nth]).collect()
    }

    /// Whether something else could be at this slot's place: whether KVM has it.
    fn is_free(&self, nth: u64) -> bool {
        let region = self.ram.iter().next().unwrap();
        let slot = |memory_size| kvm_userspace_memory_region {
            slot: 200,
            guest_phys_addr: START + nth * SLOT,
            memory_size,
            userspace_addr: region.as_ptr().addr() as u64,
            flags: 0,
        };
        // SAFETY: of memory that stays mapped, and at once taken back.
        let taken = unsafe { self.vm.set_user_memory_region(slot(4096)) }.is_ok();
        // SAFETY: as above.
        let _ = unsafe { self.vm.set_user_memory_region(slot(0)) };
        taken
    }

    fn done(self) {
        let Test { slots, ram, vm } = self;
        drop((slots, vm));
        release(ram);
    }
}

/// Bytes of the region that the host has in memory.
fn resident(test: &Test) -> usize {
    let part = test.slots.part(0, 3 * SLOT).unwrap();
    let mut seen = vec![0u8; part.len() / PAGE];
    // SAFETY: a mapping of that length, and a byte for each page.
    let result = unsafe {
        libc::mincore(part.ptr_guard_mut().as_ptr().cast(), part.len(), seen.as_mut_ptr())
    };
    assert_eq!(result, 0);
    seen.iter().filter(|page| **page & 1 != 0).count() * PAGE
}

#[test]
fn kvm_has_a_slot_for_as_long_as_a_block_of_it_is_plugged() {
    let test = test(false);
    assert!((0..3).all(|nth| test.is_free(nth)), "nothing is there at first");
    // The last block of the first slot, and the first of the second.
    test.slots.plug(63, 2).unwrap();
    assert_eq!(test.shown(), [0, 1]);
    assert_eq!([0, 1, 2].map(|nth| test.is_free(nth)), [false, false, true]);
    test.slots.plug(0, 1).unwrap();
    test.slots.unplug(63, 2).unwrap();
    assert_eq!((test.shown(), test.is_free(1)), (vec![0], true));
    test.slots.unplug(0, 1).unwrap();
    assert_eq!((test.shown(), test.is_free(0)), (vec![], true));
    test.slots.plug(0, 192).unwrap();
    assert_eq!(test.shown(), [0, 1, 2]);
    test.done();
}

#[test]
fn what_is_unplugged_is_the_hosts_with_all_that_a_guest_wrote_beside_it() {
    let test = test(false);
    test.slots.plug(10, 2).unwrap();
    let at = GuestAddress(START + 10 * BLOCK);
    test.ram.write_slice(&vec![7; 2 * BLOCK as usize], at).unwrap();
    // As a guest could, in a slot that KVM has.
    let region = test.ram.iter().last().unwrap();
    region.write_slice(&vec![8; BLOCK as usize], MemoryRegionAddress(50 * BLOCK)).unwrap();
    assert_eq!(resident(&test), 3 * BLOCK as usize);
    test.slots.unplug(10, 1).unwrap();
    assert_eq!(resident(&test), 2 * BLOCK as usize);
    assert!(test.ram.read_obj::<u8>(at).is_err());
    test.slots.unplug(11, 1).unwrap();
    assert_eq!(resident(&test), 0);
    test.slots.plug(10, 1).unwrap();
    assert_eq!(test.ram.read_obj::<u8>(at).unwrap(), 0);
    test.done();
}

#[test]
fn what_kvm_has_no_place_for_is_not_plugged() {
    let test = test(false);
    let region = test.ram.iter().next().unwrap();
    let other = kvm_userspace_memory_region {
        slot: 200,
        guest_phys_addr: START + SLOT,
        memory_size: 4096,
        userspace_addr: region.as_ptr().addr() as u64,
        flags: 0,
    };
    // SAFETY: of memory that stays mapped.
    unsafe { test.vm.set_user_memory_region(other) }.unwrap();
    assert!(test.slots.plug(60, 10).is_err());
    assert_eq!((test.shown(), test.slots.blocks().plugged_bytes()), (vec![], 0));
    test.slots.plug(60, 4).unwrap();
    assert!(test.slots.plug(60 + 64, 1).is_err());
    assert_eq!(test.shown(), [0]);
    test.done();
}

#[test]
fn changes_are_those_of_slots_that_are_there_and_of_what_went_back() {
    let test = test(true);
    test.slots.plug(0, 1).unwrap();
    test.slots.plug(130, 1).unwrap();
    let mut seen = Vec::new();
    test.slots.take_logs(|page, words| seen.push((page, words.len()))).unwrap();
    let pages = SLOT / PAGE as u64;
    assert_eq!(seen, [(0, (pages / 64) as usize), (2 * pages, (pages / 64) as usize)]);
    let region = test.ram.iter().last().unwrap();
    dirty::of(region).take();
    test.ram.write_obj(1u8, GuestAddress(START + 5 * PAGE as u64)).unwrap();
    test.slots.unplug(130, 1).unwrap();
    let noted = dirty::of(region).take();
    let bits: Vec<_> =
        (0..noted.len() * 64).filter(|bit| noted[bit / 64] >> (bit % 64) & 1 != 0).collect();
    let first = 130 * BLOCK as usize / PAGE;
    let wanted: Vec<_> = [5].into_iter().chain(first..first + BLOCK as usize / PAGE).collect();
    assert_eq!(bits, wanted);
    test.done();
}

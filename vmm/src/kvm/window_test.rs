//! Tests of windows against the kernel; they need `/dev/kvm`, of any kind.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::kvm;

const RAM: u64 = 1 << 20;
const FREE: u64 = 0xe000_0000;
const FILES: AddressRange = AddressRange::new(4 << 30, 5 << 30);

fn windows() -> (Windows, GuestRam) {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(RAM, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    (Windows::new(vm, &ram, FILES), ram)
}

#[test]
fn a_window_moves_and_keeps_what_it_holds() {
    let (windows, _ram) = windows();
    let window = windows.allocate(0x2_0000).unwrap();
    window.memory().write_slice(b"pushed", GuestAddress(0x100)).unwrap();
    for at in [Some(FREE), Some(FREE), Some(FREE + 0x2_0000), None, None, Some(FREE)] {
        window.place(at).unwrap();
    }
    let mut bytes = [0; 6];
    window.memory().read_slice(&mut bytes, GuestAddress(0x100)).unwrap();
    assert_eq!(&bytes, b"pushed");
}

#[test]
fn a_window_over_ram_or_another_window_is_refused_and_can_go_elsewhere() {
    let (windows, _ram) = windows();
    let (one, other) = (windows.allocate(0x2000).unwrap(), windows.allocate(0x2000).unwrap());
    assert!(one.place(Some(RAM - 0x1000)).is_err());
    one.place(Some(FREE)).unwrap();
    assert!(other.place(Some(FREE + 0x1000)).is_err());
    other.place(Some(FREE + 0x2000)).unwrap();
}

#[test]
fn a_window_that_goes_leaves_its_place_to_others() {
    let (windows, _ram) = windows();
    for _ in 0..3 {
        let window = windows.allocate(0x1000).unwrap();
        window.place(Some(FREE)).unwrap();
    }
}

#[test]
fn what_is_expected_is_there_for_who_asks_and_goes_where_it_belongs() {
    let (windows, ram) = windows();
    let places = [(FREE, 0x2000), (FREE + 0x2000, 0x1000), (0, 0x1000), (FREE + 0x8000, 0)];
    // What lies over RAM, or is nothing, is not expected.
    windows.expect(&places);
    assert_eq!(windows.placed(), places[..2]);
    let (one, other) = (windows.allocate(0x2000).unwrap(), windows.allocate(0x1000).unwrap());
    let passing = windows.allocate_passing(0x1000).unwrap();
    passing.place(Some(FREE + 0x9000)).unwrap();
    // The first is where it was said to be; the second takes the place that nobody is to expect.
    one.place(Some(FREE)).unwrap();
    other.place(Some(FREE + 0x4000)).unwrap();
    windows.settle();
    assert_eq!(windows.placed(), [(FREE, 0x2000), (FREE + 0x4000, 0x1000)]);
    drop((one, other, passing));
    assert_eq!(windows.placed(), []);
    crate::memory::release(ram);
}

#[test]
fn what_was_expected_in_vain_is_gone_and_in_nobodys_way() {
    let (windows, ram) = windows();
    windows.expect(&[(FREE, 0x1000), (FREE + 0x1000, 0x1000), (FREE + 0x2000, 0x3000)]);
    // In the other order than they were said to come, and one that has another size.
    let (one, other) = (windows.allocate(0x1000).unwrap(), windows.allocate(0x1000).unwrap());
    let third = windows.allocate(0x1000).unwrap();
    one.place(Some(FREE + 0x1000)).unwrap();
    other.place(Some(FREE)).unwrap();
    windows.settle();
    assert_eq!(windows.placed().len(), 2);
    third.place(Some(FREE + 0x2000)).unwrap();
    windows.expect(&[(FREE + 0x8000, 0x1000), (FREE + 0x9000, 0x1000)]);
    // Nobody asks for one; the other is not put anywhere.
    let unplaced = windows.allocate(0x1000).unwrap();
    windows.settle();
    assert_eq!(windows.placed().len(), 3);
    unplaced.place(Some(FREE + 0x8000)).unwrap();
    drop((one, other, third, unplaced));
    crate::memory::release(ram);
}

/// A file in memory with these bytes at its beginning.
fn file(len: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    file
}

#[test]
fn files_lie_apart_behind_each_other_in_whole_2_mib() {
    let (windows, _ram) = windows();
    let one = windows.map_file(&file(2 << 20), 2 << 20, false).unwrap();
    let other = windows.map_file(&file(5), 5, true).unwrap();
    assert_eq!((one.address(), one.size()), (FILES.start, 2 << 20));
    assert_eq!(other.size(), 2 << 20);
    assert!(other.address() >= one.address() + one.size());
    assert!(other.address().is_multiple_of(2 << 20));
}

#[test]
fn a_file_that_there_is_no_address_space_for_is_refused_and_a_smaller_one_is_not() {
    let (windows, _ram) = windows();
    assert!(windows.map_file(&file(2 << 30), 2 << 30, false).is_err());
    let window = windows.map_file(&file(1 << 30), 1 << 30, false).unwrap();
    assert!(windows.map_file(&file(1), 1, false).is_err(), "it is full");
    drop(window);
    assert!(windows.map_file(&file(1), 1, false).is_ok(), "it is empty again");
}

#[test]
fn slots_and_places_of_what_went_are_used_again() {
    let (windows, _ram) = windows();
    let map = || windows.map_file(&file(2 << 20), 2 << 20, false).unwrap();
    let mut files: Vec<_> = (0..3).map(|_| map()).collect();
    let places: Vec<_> = files.iter().map(|file| file.address()).collect();
    for nth in [1, 0, 2, 1] {
        drop(files.remove(nth));
        files.insert(nth, map());
        assert_eq!(files.iter().map(|file| file.address()).collect::<Vec<_>>(), places);
    }
    let slots = || lock(&windows.taken).next_slot;
    let before = slots();
    for _ in 0..100 {
        windows.allocate(0x1000).unwrap().place(Some(FREE)).unwrap();
    }
    assert!(slots() <= before + 1);
}

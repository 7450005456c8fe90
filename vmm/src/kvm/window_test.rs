//! Tests of windows against the kernel; they need `/dev/kvm`, of any kind.

use vm_memory::Bytes;

use super::*;
use crate::kvm;

const RAM: u64 = 1 << 20;
const FREE: u64 = 0xe000_0000;

fn windows() -> (Windows, GuestRam) {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(RAM, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    (Windows::new(vm, &ram), ram)
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

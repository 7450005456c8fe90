//! Where kernels go at random, and where they must not.

use proptest::prelude::*;

use super::*;
use crate::boot::samples::{bzimage, file, open, vmlinux, with_relocations};
use crate::layout::MIB;

const ALIGNMENT: u64 = 2 * MIB;
/// Where the sample is linked for, and what its header says it needs.
const START: u64 = 16 * MIB;
const SIZE: u64 = 4 * MIB;

/// The image of a kernel with one place to change.
fn image() -> Image {
    let elf = with_relocations(&vmlinux(&[]), &[0, 0, 0x8100_0000]);
    open(&bzimage()).unwrap().unpacked(file(&elf)).unwrap().image
}

fn line(text: &str) -> Cmdline {
    Cmdline::new(text).unwrap()
}

proptest! {
    #[test]
    fn it_lies_aligned_in_its_room(random: [u64; 2], end in 20 * MIB..3072 * MIB) {
        let shift = choose(&image(), &line("quiet"), end, random).unwrap();
        prop_assert_eq!(shift.physical % ALIGNMENT, 0);
        prop_assert_eq!(shift.virtual_ % ALIGNMENT, 0);
        prop_assert!(START + SIZE + shift.physical <= end);
        prop_assert!(START + SIZE + shift.virtual_ <= 1 << 30);
    }
}

#[test]
fn every_place_is_possible_with_the_first_and_the_last_among_them() {
    let end = START + SIZE + 3 * ALIGNMENT + 1;
    let places = (0..4).map(|n| choose(&image(), &line(""), end, [n, n]).unwrap().physical);
    assert_eq!(places.collect::<Vec<_>>(), [0, 1, 2, 3].map(|n| n * ALIGNMENT));
    assert_eq!(choose(&image(), &line(""), end, [4, 0]), Some(Shift::default()));
    let last = (1 << 30) - START - SIZE;
    let slots = last / ALIGNMENT + 1;
    assert_eq!(choose(&image(), &line(""), end, [0, slots - 1]).unwrap().virtual_, last);
}

#[test]
fn a_kernel_without_room_stays_where_it_was_linked_for() {
    for end in [0, START, START + SIZE, START + SIZE + ALIGNMENT - 1] {
        assert_eq!(choose(&image(), &line(""), end, [7, 0]), Some(Shift::default()), "{end:#x}");
    }
}

#[test]
fn the_command_line_is_obeyed() {
    let random = [5, 6];
    let free = choose(&image(), &line("a"), 512 * MIB, random).unwrap();
    assert_eq!(free, Shift { physical: 5 * ALIGNMENT, virtual_: 6 * ALIGNMENT });
    assert_eq!(choose(&image(), &line("a nokaslr b"), 512 * MIB, random), None);
    for told in ["mem=100M", "memmap=1M$64M"] {
        let shift = choose(&image(), &line(told), 512 * MIB, random).unwrap();
        assert_eq!(shift, Shift { physical: 0, ..free }, "{told}");
    }
}

#[test]
fn what_has_no_relocations_does_not_move() {
    for kernel in [bzimage(), vmlinux(&[])] {
        let image = open(&kernel).unwrap().image;
        assert_eq!(choose(&image, &line(""), 512 * MIB, [5, 6]), None);
    }
}

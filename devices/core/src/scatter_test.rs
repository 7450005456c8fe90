//! Tests of scatter lists over guest RAM.

use super::*;
use crate::testing::{ram, ram_at};
use vm_memory::Bytes;

fn filled(len: usize) -> GuestRam {
    let memory = ram(len);
    let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
    memory.write_slice(&bytes, GuestAddress(0)).unwrap();
    memory
}

#[test]
fn pulling_copies_the_front_and_leaves_the_rest() {
    let mut list = Scatter::new(filled(0x1000));
    list.push(0x10, 3).unwrap();
    list.push(0x20, 0).unwrap();
    list.push(0x30, 5).unwrap();
    let mut head = [0; 4];
    assert!(list.pull(&mut head));
    assert_eq!(head, [0x10, 0x11, 0x12, 0x30]);
    assert_eq!(list.len(), 4);
    assert!(!list.pull(&mut [0; 5]));
    let mut rest = [0; 4];
    assert!(list.pull(&mut rest));
    assert_eq!(rest, [0x31, 0x32, 0x33, 0x34]);
    assert!(list.is_empty() && list.iovecs(0).next().is_none());
}

#[test]
fn a_write_lands_at_its_offset_across_pieces() {
    let memory = ram(0x1000);
    let mut list = Scatter::new(memory.clone());
    list.push(0x100, 4).unwrap();
    list.push(0x200, 4).unwrap();
    assert!(list.write_at(2, &[1, 2, 3, 4]));
    assert!(!list.write_at(5, &[9; 4]));
    let mut bytes = [0; 4];
    memory.read_slice(&mut bytes, GuestAddress(0x100)).unwrap();
    assert_eq!(bytes, [0, 0, 1, 2]);
    memory.read_slice(&mut bytes, GuestAddress(0x200)).unwrap();
    assert_eq!(bytes, [3, 4, 0, 0]);
}

#[test]
fn what_is_not_ram_is_refused_and_leaves_the_list_as_it_was() {
    let mut list = Scatter::new(ram_at(&[(0, 0x1000), (0x2000, 0x1000)]));
    list.push(0, 0x10).unwrap();
    for (addr, len) in [(0xff8, 0x10), (0x1000, 1), (0x1ff8, 0x10), (u64::MAX, 1), (0, u32::MAX)] {
        assert_eq!(list.push(addr, len), Err(ScatterError::OutsideRam), "{addr:#x}");
        assert_eq!((list.len(), list.iovecs(0).count()), (0x10, 1));
    }
    let mut all = Scatter::new(ram_at(&[(0, 0x1000), (0x1000, 0x1000)]));
    all.push(0xff8, 0x10).unwrap();
    assert_eq!(all.iovecs(0).count(), 2);
    assert_eq!(all.iovecs(8).count(), 1);
}

#[test]
fn the_list_is_bounded_and_never_grows() {
    let mut list = Scatter::new(ram(0x1000));
    let capacity = list.pieces.capacity();
    for _ in 0..MAX_PIECES {
        list.push(0, 1).unwrap();
    }
    assert_eq!(list.push(0, 1), Err(ScatterError::TooManyPieces));
    // A sliding window goes on for ever.
    for _ in 0..10 * MAX_PIECES {
        list.advance(1);
        list.push(8, 1).unwrap();
        assert_eq!(list.len(), MAX_PIECES);
    }
    assert_eq!(list.iovecs(0).count(), MAX_PIECES);
    assert_eq!(list.pieces.capacity(), capacity);
}

//! Completion queues: phases, room, doorbells.

use device_core::testing::ram;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::abi::Status;

const BASE: u64 = 0x1000;

fn queue(size: u16) -> CompletionQueue {
    let queue = CompletionQueue::new(ram(0x4000));
    queue.open(CqConfig { base: BASE, size, vector: None });
    queue
}

fn batch(ids: impl Iterator<Item = u16>) -> Vec<Completion> {
    ids.map(|id| Completion::new(id, Status::OK)).collect()
}

/// Id and phase of an entry.
fn entry(queue: &CompletionQueue, at: u64) -> (u16, bool) {
    let word: u32 = queue.memory.read_obj(GuestAddress(BASE + at * 16 + 12)).unwrap();
    (word as u16, word >> 16 & 1 != 0)
}

#[test]
fn n20_and_n49_the_phase_flips_with_every_pass() {
    let queue = queue(4);
    let mut phases = Vec::new();
    for n in 0..12u16 {
        queue.post(1, 0, &mut batch(n..n + 1)).unwrap();
        let (id, phase) = entry(&queue, u64::from(n % 4));
        assert_eq!(id, n);
        phases.push(phase);
        queue.write_head((n + 1) % 4).unwrap();
    }
    let expected = [[true; 4], [false; 4], [true; 4]].concat();
    assert_eq!(phases, expected);
}

#[test]
fn n53_nothing_is_overwritten_that_the_host_has_not_taken() {
    let queue = queue(4);
    let mut batch = batch(1..=5);
    queue.post(1, 0, &mut batch).unwrap();
    assert_eq!(batch.len(), 2);
    queue.post(1, 0, &mut batch).unwrap();
    assert_eq!((batch.len(), entry(&queue, 3)), (2, (0, false)));
    assert!(queue.may_wait());
    queue.write_head(1).unwrap();
    assert!(!queue.may_wait());
    queue.post(1, 0, &mut batch).unwrap();
    assert_eq!((batch.len(), entry(&queue, 3)), (1, (4, true)));
    queue.write_head(3).unwrap();
    queue.post(1, 0, &mut batch).unwrap();
    assert_eq!((batch.len(), entry(&queue, 0)), (0, (5, false)));
}

#[test]
fn who_waits_for_room_is_woken_once_there_is_some() {
    let queue = queue(2);
    let bell = Arc::new(SqBell::new(queue.memory.clone()).unwrap());
    queue.attach(bell.clone());
    queue.post(1, 0, &mut batch(0..1)).unwrap();
    queue.write_head(0).unwrap();
    assert!(bell.waker().read().is_err(), "nobody waits");
    assert!(queue.may_wait());
    queue.write_head(1).unwrap();
    assert!(bell.waker().read().is_ok());
    queue.detach(&bell);
    assert!(!queue.is_used());
}

#[test]
fn n54_a_head_that_cannot_be_is_ignored() {
    let queue = queue(8);
    queue.post(1, 0, &mut batch(0..3)).unwrap();
    for head in [8, 0xffff, 4, 7] {
        assert_eq!(queue.write_head(head), Err(BadDoorbell::Value), "{head}");
    }
    assert_eq!(queue.head(), 0);
    queue.write_head(3).unwrap();
    assert_eq!(queue.write_head(2), Err(BadDoorbell::Value));
    assert_eq!(queue.head(), 3);
}

#[test]
fn n84_a_head_in_memory_that_cannot_be_is_ignored() {
    let queue = queue(2);
    queue.shadow.place(0x2004, 0x3004, 0);
    queue.post(1, 0, &mut batch(0..1)).unwrap();
    for head in [2u32, 0xffff, 0xffff_0000] {
        queue.memory.write_obj(head, GuestAddress(0x2004)).unwrap();
        assert!(queue.may_wait(), "{head:#x}");
    }
    queue.memory.write_obj(1u32, GuestAddress(0x2004)).unwrap();
    assert!(!queue.may_wait());
}

#[test]
fn n81_who_waits_for_room_asks_for_a_write_to_the_register() {
    let queue = queue(4);
    queue.shadow.place(0x2004, 0x3004, 0);
    let mut batch = batch(0..6);
    queue.post(1, 0, &mut batch).unwrap();
    queue.memory.write_obj(2u32, GuestAddress(0x2004)).unwrap();
    queue.post(1, 0, &mut batch).unwrap();
    assert_eq!(batch.len(), 1);
    let event = || queue.memory.read_obj::<u32>(GuestAddress(0x3004)).unwrap();
    assert_eq!(event(), 1, "while there was room it asked for nothing before a whole round");
    assert!(queue.may_wait());
    assert_eq!(event(), 2);
}

#[test]
fn a_closed_queue_swallows_what_is_posted() {
    let queue = queue(4);
    queue.close();
    let mut batch = batch(0..1);
    queue.post(1, 0, &mut batch).unwrap();
    assert!(batch.is_empty());
    assert_eq!(entry(&queue, 0), (0, false));
    assert_eq!(queue.write_head(0), Err(BadDoorbell::NoQueue));
}

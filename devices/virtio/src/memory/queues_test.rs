//! Tests of requests as a driver makes them (virtio 1.2, 5.15.6).

use vm_memory::{Bytes, GuestAddress};

use crate::testing::memory::{
    ACK, BLOCK, BLOCKS, BUSY, ERROR, NACK, PLUG, SLOT_BLOCKS, START, STATE, TestHotMemory, UNPLUG,
    UNPLUG_ALL, request,
};
use crate::testing::ring::{readable, writable};

const PLUGGED: u16 = 0;
const UNPLUGGED: u16 = 1;
const MIXED: u16 = 2;

#[test]
fn blocks_come_and_go_with_what_is_in_them() {
    let mut test = TestHotMemory::new(256);
    let byte = |test: &TestHotMemory, block: u64| {
        test.guest.memory.read_obj::<u8>(GuestAddress(START + block * BLOCK)).ok()
    };
    assert_eq!(byte(&test, 3), None, "a device does not reach it");
    assert_eq!(test.ask(PLUG, 2, 4), (ACK, 0));
    assert_eq!(test.runs(), [(2, 4)]);
    test.guest.write(START + 3 * BLOCK, &[7]);
    assert_eq!([2, 3, 6].map(|block| byte(&test, block)), [Some(0), Some(7), None]);
    assert_eq!(test.ask(UNPLUG, 3, 1), (ACK, 0));
    assert_eq!((test.runs(), byte(&test, 3)), (vec![(2, 1), (4, 2)], None));
    assert_eq!(test.region().first_bytes()[3], 0, "its memory is the host's");
    assert_eq!(test.ask(PLUG, 3, 1), (ACK, 0));
    assert_eq!(byte(&test, 3), Some(0));
    assert_eq!(test.guest.interrupts(0), 3);
    let counters = test.device.counters();
    let counted = [&counters.plugs, &counters.unplugs, &counters.plugged_bytes];
    assert_eq!(counted.map(|counter| counter.get()), [2, 1, 5 * BLOCK]);
}

#[test]
fn a_range_has_a_state() {
    let mut test = TestHotMemory::new(256);
    test.ask(PLUG, 2, 2);
    for (block, count, state) in
        [(0, 2, UNPLUGGED), (2, 2, PLUGGED), (3, 1, PLUGGED), (1, 2, MIXED)]
    {
        assert_eq!(test.ask(STATE, block, count), (ACK, state), "{block} {count}");
    }
    assert_eq!(test.ask(STATE, BLOCKS, 1), (ERROR, 0));
    let counters = test.device.counters();
    assert_eq!((counters.states.get(), counters.state_failures.get()), (4, 1));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut test = TestHotMemory::new(8);
    assert_eq!(test.ask(PLUG, 10, 2), (ACK, 0));
    // Those that are there, or are not; none; those behind the usable part, which is a slot.
    for (kind, block, count) in [
        (PLUG, 11, 1),
        (PLUG, 9, 2),
        (UNPLUG, 9, 1),
        (UNPLUG, 10, 3),
        (PLUG, 0, 0),
        (UNPLUG, 10, 0),
        (STATE, 10, 0),
        (PLUG, SLOT_BLOCKS, 1),
        (PLUG, SLOT_BLOCKS - 1, 2),
        (UNPLUG, 0, u16::MAX),
        (4, 10, 1),
        (u16::MAX, 10, 1),
    ] {
        assert_eq!(test.ask(kind, block, count), (ERROR, 0), "{kind} {block} {count}");
    }
    for address in [START + 1, START + BLOCK / 2, START - BLOCK, 0, u64::MAX - BLOCK + 1, u64::MAX]
    {
        let bytes = test.guest.readable(&request(UNPLUG, address, 1));
        let answer = test.guest.buffer(10);
        test.guest.queues[0].offer(&[bytes, writable(answer, 10)]);
        test.run();
        assert_eq!(test.guest.queues[0].take().map(|(_, len)| len), Some(10));
        assert_eq!(test.answer(answer), (ERROR, 0), "{address:#x}");
    }
    assert_eq!(test.runs(), [(10, 2)]);
}

#[test]
fn more_than_it_is_to_have_is_refused_for_now() {
    let mut test = TestHotMemory::new(8);
    assert_eq!(test.ask(PLUG, 0, 5), (NACK, 0));
    assert_eq!(test.ask(PLUG, 0, 4), (ACK, 0));
    assert_eq!(test.ask(PLUG, 5, 1), (NACK, 0));
    test.device.request(10).unwrap();
    assert_eq!(test.ask(PLUG, 5, 1), (ACK, 0));
    test.device.request(0).unwrap();
    assert_eq!(test.ask(PLUG, 9, 1), (NACK, 0));
    assert_eq!(test.runs(), [(0, 4), (5, 1)], "nothing is taken from the guest");
}

#[test]
fn all_goes_at_once() {
    let mut test = TestHotMemory::new(256);
    test.ask(PLUG, 2, 4);
    test.ask(PLUG, 60, 60);
    assert_eq!(test.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
    assert_eq!(test.runs(), []);
    assert_eq!(test.ask(UNPLUG_ALL, 7, 7), (ACK, 0), "of none too, whatever else it says");
    let counters = test.device.counters();
    assert_eq!((counters.unplug_alls.get(), counters.unplugged_bytes.get()), (2, 64 * BLOCK));
}

#[test]
fn a_host_without_memory_makes_the_guest_wait_and_keeps_nothing_half_done() {
    let mut test = TestHotMemory::new(256);
    // More than a step has.
    test.region().set_room(50 * BLOCK);
    assert_eq!(test.ask(PLUG, 0, 100), (BUSY, 0));
    assert_eq!(test.runs(), []);
    assert_eq!(test.ask(PLUG, 0, 50), (ACK, 0));
    let counters = test.device.counters();
    assert_eq!((counters.host_failures.get(), counters.plug_failures.get()), (1, 1));
}

#[test]
fn a_request_that_is_none_comes_back_and_the_next_is_served() {
    let mut test = TestHotMemory::new(8);
    let whole = request(PLUG, START, 1);
    let (bytes, answer) = (test.guest.readable(&whole), test.guest.buffer(10));
    let at = bytes.addr;
    let missing = START + 100 * BLOCK;
    for chain in [
        vec![bytes],
        vec![writable(answer, 10)],
        vec![readable(at, 23), writable(answer, 10)],
        vec![readable(at, 25), writable(answer, 10)],
        vec![bytes, writable(answer, 9)],
        vec![bytes, writable(answer, 10), writable(answer, 10)],
        vec![writable(answer, 10), bytes],
        vec![readable(missing, 24), writable(answer, 10)],
    ] {
        test.guest.queues[0].offer(&chain);
        test.run();
        assert_eq!(test.guest.queues[0].take().map(|(_, len)| len), Some(0));
        assert_eq!(test.runs(), []);
    }
    // In two parts it is one.
    test.guest.queues[0].offer(&[readable(at, 8), readable(at + 8, 16), writable(answer, 64)]);
    test.run();
    assert_eq!(test.guest.queues[0].take().map(|(_, len)| len), Some(10));
    assert_eq!((test.device.counters().refused.get(), test.runs()), (8, vec![(0, 1)]));
    // Of an answer that has no place nothing is written.
    test.guest.queues[0].offer(&[readable(at, 24), writable(missing, 10)]);
    test.run();
    assert_eq!(test.guest.queues[0].take().map(|(_, len)| len), Some(0));
}

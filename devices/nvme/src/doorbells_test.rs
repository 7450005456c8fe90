//! Doorbells in registers and in memory.

use std::sync::atomic::{AtomicU32, fence};
use std::time::{Duration, Instant};

use device_core::testing::ram;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const INDEX: u64 = 0x1008;
const EVENT: u64 = 0x2008;
const SIZE: u16 = 8;

fn bell() -> (SqBell, GuestRam) {
    let memory = ram(0x4000);
    let bell = SqBell::new(memory.clone()).unwrap();
    bell.open(SIZE);
    (bell, memory)
}

#[test]
fn a_register_holds_entries_of_its_queue_only() {
    let (bell, _) = bell();
    assert_eq!(bell.write(3), Ok(()));
    assert_eq!(bell.write(SIZE), Err(BadDoorbell::Value));
    assert_eq!(bell.tail(), Ok(3));
    bell.close();
    assert_eq!(bell.write(1), Err(BadDoorbell::NoQueue));
    bell.open(SIZE);
    assert_eq!(bell.tail(), Ok(0));
}

#[test]
fn what_is_in_memory_counts_once_it_is_there() {
    let (bell, memory) = bell();
    bell.write(3).unwrap();
    bell.shadow.place(INDEX, EVENT, 3);
    for at in [INDEX, EVENT] {
        assert_eq!(memory.read_obj::<u32>(GuestAddress(at)).unwrap(), 3);
    }
    bell.write(5).unwrap();
    assert_eq!(bell.tail(), Ok(3));
    memory.write_obj(0xffff_0006u32, GuestAddress(INDEX)).unwrap();
    assert_eq!(bell.tail(), Ok(6), "the upper half is reserved");
}

#[test]
fn an_impossible_index_in_memory_wakes_nobody() {
    let (bell, memory) = bell();
    bell.shadow.place(INDEX, EVENT, 0);
    memory.write_obj(u32::from(SIZE), GuestAddress(INDEX)).unwrap();
    assert_eq!(bell.tail(), Err(BadDoorbell::Value));
    assert!(bell.may_sleep(0));
}

/// A host's rule for whether to write the register (Linux's driver), on its way from `old` to `new`.
fn is_wanted(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[test]
fn a_ring_that_looks_by_itself_is_not_written_to_in_all_of_a_round() {
    for size in [2, 3, SIZE] {
        let (bell, memory) = bell();
        bell.open(size);
        bell.shadow.place(INDEX, EVENT, 0);
        for seen in 0..size {
            bell.stay_awake(seen);
            let event: u32 = memory.load(GuestAddress(EVENT), Ordering::Relaxed).unwrap();
            // As far as the queue is full, in one go or in several.
            for steps in 1..size {
                let new = (seen + steps) % size;
                assert!(!is_wanted(event as u16, seen, new), "{size} {seen} {steps}");
                for to in steps + 1..size {
                    assert!(!is_wanted(event as u16, new, (seen + to) % size));
                }
            }
            assert!(bell.may_sleep(0));
            let event: u32 = memory.load(GuestAddress(EVENT), Ordering::Relaxed).unwrap();
            assert!(is_wanted(event as u16, 0, 1), "and is, once it sleeps");
        }
    }
}

/// Both sides at once, on threads: whenever the ring sleeps, the next command wakes it.
#[test]
fn n80_no_command_is_left_behind_by_a_ring_that_sleeps() {
    const COMMANDS: u32 = 100_000;
    let (bell, memory) = bell();
    bell.shadow.place(INDEX, EVENT, 0);
    let (bell, taken) = (&bell, &AtomicU32::new(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait = move || {
        assert!(Instant::now() < deadline, "nobody wakes the ring");
        std::thread::yield_now();
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let word = |at: u64| memory.load::<u32>(GuestAddress(at), Ordering::Relaxed).unwrap();
            for n in 0..COMMANDS {
                while n - taken.load(Ordering::Acquire) >= u32::from(SIZE) - 1 {
                    wait();
                }
                let (old, new) = (n as u16 % SIZE, (n + 1) as u16 % SIZE);
                memory.store(u32::from(new), GuestAddress(INDEX), Ordering::Release).unwrap();
                fence(Ordering::SeqCst);
                let event = word(EVENT) as u16;
                if new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old) {
                    bell.write(new).unwrap();
                }
            }
        });
        let mut head = 0;
        while taken.load(Ordering::Relaxed) < COMMANDS {
            if bell.tail() != Ok(head) {
                head = (head + 1) % SIZE;
                taken.fetch_add(1, Ordering::Release);
            } else if bell.may_sleep(head) {
                while bell.waker().read().is_err() {
                    wait();
                }
            }
        }
    });
}

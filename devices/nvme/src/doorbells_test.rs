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

/// Whether a host that goes on from `old` to `new` finds in memory that it has to write the register.
fn is_rung(memory: &GuestRam, old: u16, new: u16) -> bool {
    let event = memory.load::<u32>(GuestAddress(EVENT), Ordering::Relaxed).unwrap() as u16;
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[test]
fn a_ring_that_looks_by_itself_is_not_rung_for_a_round() {
    let (bell, memory) = bell();
    bell.shadow.place(INDEX, EVENT, 0);
    for seen in 0..SIZE {
        bell.stay_awake(seen);
        let at = |ahead| (seen + ahead) % SIZE;
        for ahead in 1..SIZE {
            assert!(!is_rung(&memory, at(0), at(ahead)), "{seen} and {ahead}");
            assert!(!is_rung(&memory, at(ahead - 1), at(ahead)), "{seen} and {ahead}");
        }
    }
    assert!(bell.may_sleep(0));
    assert!(is_rung(&memory, 0, 1));
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
            for n in 0..COMMANDS {
                while n - taken.load(Ordering::Acquire) >= u32::from(SIZE) - 1 {
                    wait();
                }
                let (old, new) = (n as u16 % SIZE, (n + 1) as u16 % SIZE);
                memory.store(u32::from(new), GuestAddress(INDEX), Ordering::Release).unwrap();
                fence(Ordering::SeqCst);
                if is_rung(&memory, old, new) {
                    bell.write(new).unwrap();
                }
            }
        });
        let mut head = 0;
        while taken.load(Ordering::Relaxed) < COMMANDS {
            if bell.tail() != Ok(head) {
                head = (head + 1) % SIZE;
                taken.fetch_add(1, Ordering::Release);
                bell.stay_awake(head);
            } else if bell.may_sleep(head) {
                while bell.waker().read().is_err() {
                    wait();
                }
            }
        }
    });
}

//! Tests of rings on every rung of the ladder that this kernel has.
#![allow(unsafe_code)]

use std::time::Instant;

use device_core::ready::can_read;
use device_core::testing::ram;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::testing::pattern;

/// All that this kernel has; none where it has no io_uring for us.
fn rings(image: &Arc<Image>) -> Vec<(Rung, Uring)> {
    let made = |rung| Some((rung, Uring::at(rung, image.clone(), None).ok()?));
    let mut rings: Vec<_> = LADDER.into_iter().filter_map(made).collect();
    rings.iter_mut().for_each(|(_, ring)| ring.begin().unwrap());
    rings
}

/// Waits for a task by the ring's own bell.
fn one(ring: &mut Uring, task: Box<Task>) -> Done {
    ring.start(task);
    assert!(ring.submit());
    let mut done = Vec::new();
    while done.is_empty() {
        ring.reap(&mut done);
        if done.is_empty() && ring.may_sleep() {
            assert!(can_read(ring.watches()[0], Duration::from_secs(20)), "nobody rings");
            // Not edge-triggered here: it would stay readable.
            ring.bell.read().unwrap();
        }
    }
    done.pop().unwrap()
}

#[test]
fn each_rung_carries_all_calls() {
    let image = Arc::new(Image::in_memory(1 << 20, false, None));
    for ((rung, mut ring), seed) in rings(&image).into_iter().zip(1..) {
        let memory = ram(1 << 16);
        memory.write_slice(&pattern(4096, seed), GuestAddress(0)).unwrap();
        let mut task = Box::new(Task::new(memory.clone()));
        for (call, offset, at, wanted) in [
            (Call::Write { durable: false }, 512, 0, 4096),
            (Call::Write { durable: true }, 8192, 0, 4096),
            (Call::Sync, 0, 0, 0),
            (Call::Read, 8192, 0x4000, 4096),
            (Call::Punch, 8192, 0, 0),
            (Call::Read, 8192, 0x8000, 4096),
            (Call::Read, (1 << 20) - 512, 0xc000, 512),
            (Call::Read, 1 << 20, 0xc000, 0),
        ] {
            task.clear(Instant::now());
            match call {
                Call::Read | Call::Write { .. } => {
                    task.request.buffers.push(at, 2048).unwrap();
                    task.request.buffers.push(at + 2048, 2048).unwrap();
                    task.aim_at_guest(call, Place::FILE, offset, 0, 4096);
                    assert_eq!(task.iovecs().len(), 1, "neighbours are one");
                }
                _ => task.aim(call, offset, 4096),
            }
            let (back, result) = one(&mut ring, task);
            assert_eq!(result, wanted, "{rung:?}: {call:?}");
            task = back;
        }
        let mut bytes = vec![0; 4096];
        memory.read_slice(&mut bytes, GuestAddress(0x4000)).unwrap();
        assert_eq!(bytes, pattern(4096, seed));
        memory.read_slice(&mut bytes, GuestAddress(0x8000)).unwrap();
        assert_eq!(bytes, [0; 4096]);
    }
}

#[test]
fn a_bell_that_may_stay_silent_rings_only_for_who_sleeps() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let image = Arc::new(Image::on(file, 1 << 20, false, None));
    let memory = ram(1 << 16);
    for (rung, mut ring) in rings(&image) {
        let (mut task, mut done) = (Box::new(Task::new(memory.clone())), Vec::new());
        task.request.buffers.push(0, 512).unwrap();
        task.aim_at_guest(Call::Read, Place::FILE, 0, 0, 512);
        ring.start(task);
        assert!(ring.submit());
        ring.reap(&mut done);
        // Where the file is in the page cache itself, the kernel's threads read it, and ring when they like.
        if !done.is_empty() {
            assert_eq!(ring.bell.read().is_ok(), rung != Rung::Deferred, "{rung:?}");
            assert!(ring.may_sleep(), "{rung:?}: nothing is away");
        }
        // They carry a sync out, sooner or later than the lane looks.
        for nth in 0..1000u32 {
            while done.is_empty() {
                if ring.may_sleep() {
                    assert!(can_read(ring.watches()[0], Duration::from_secs(20)), "{rung:?}");
                    let _ = ring.bell.read();
                }
                ring.reap(&mut done);
            }
            let (mut task, result) = done.pop().unwrap();
            assert!(result >= 0, "{rung:?}: {result}");
            task.clear(Instant::now());
            task.aim(Call::Sync, 0, 0);
            ring.start(task);
            assert!(ring.submit());
            (0..nth % 50 * 100).for_each(|_| std::hint::spin_loop());
        }
    }
}

#[test]
fn as_many_tasks_as_may_be_away_are_at_the_kernel_at_once() {
    let image = Arc::new(Image::in_memory(1 << 20, false, None));
    for (_, mut ring) in rings(&image) {
        let memory = ram(1 << 20);
        for round in 0..3 {
            for nth in 0..MAX_IN_FLIGHT as u64 {
                let mut task = Box::new(Task::new(memory.clone()));
                task.seat = nth as u16;
                task.request.buffers.push(nth * 512, 512).unwrap();
                task.aim_at_guest(Call::Read, Place::FILE, nth * 512, 0, 512);
                ring.start(task);
            }
            assert!(ring.submit());
            let (mut done, began) = (Vec::new(), Instant::now());
            while done.len() < MAX_IN_FLIGHT {
                ring.reap(&mut done);
                assert!(began.elapsed() < Duration::from_secs(20), "{} came back", done.len());
            }
            assert!(done.iter().all(|(_, result)| *result == 512), "{round}");
            let mut seats: Vec<_> = done.iter().map(|(task, _)| task.seat).collect();
            seats.sort_unstable();
            assert_eq!(seats, (0..MAX_IN_FLIGHT as u16).collect::<Vec<_>>());
            assert_eq!(ring.away, 0);
        }
    }
}

#[test]
fn a_ring_takes_nothing_but_what_disks_need() {
    let image = Arc::new(Image::in_memory(1 << 20, false, None));
    for (rung, mut ring) in rings(&image) {
        let mut byte = [0u8; 1];
        let other = opcode::Read::new(Fixed(0), byte.as_mut_ptr(), 1).build();
        let iovec = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let any_file = io_uring::types::Fd(image.file().as_raw_fd());
        let any_file = opcode::Readv::new(any_file, &raw const iovec, 1).build();
        for entry in [opcode::Nop::new().build(), other, any_file] {
            // SAFETY: the buffers live until the completion, which is waited for.
            unsafe { ring.ring.submission().push(&entry).unwrap() };
            ring.ring.submit_and_wait(1).unwrap();
            let completion = ring.ring.completion().next().unwrap();
            assert_eq!(completion.result(), -libc::EACCES, "{rung:?}");
        }
    }
}

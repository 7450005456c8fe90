//! A source of entropy and a balloon (virtio 1.2, 5.4 and 5.5): memory that was used is given up and taken back, as
//! often as the balloon's owner likes. What came of it is told by the balloon's own register.

use crate::memory::{Arena, BUFFERS, barrier, read, write};
use crate::virtio::{Place, Ring, WRITE};

/// Fields of the balloon's configuration (5.5.4): pages to give up, and pages given up.
const WANTED: u64 = 0x0;
const GIVEN: u64 = 0x4;

const PAGE: u64 = 4096;
/// Numbers of pages in one list.
const LIST: u64 = 256;
const DEPTH: u16 = 16;
/// Bytes of one request for entropy.
const RANDOM: u64 = 64;
/// What is told when all pages have been written: no number of pages that anybody wants.
const WRITTEN: u32 = 1;

/// Random bytes once, and then the balloon for ever, with so many pages. What is wrong ends the machine.
pub fn run(entropy: Place, balloon: Place, pages: u64) -> ! {
    let mut arena = Arena::new();
    ask_for_bytes(entropy, &mut arena);

    let device = balloon.reset(0, 0);
    let mut inflate = device.ring(0, DEPTH, &mut arena);
    let mut deflate = device.ring(1, DEPTH, &mut arena);
    device.done();
    let (list, at) = (arena.take_zeroed(LIST * 4), balloon.configuration());
    loop {
        for page in 0..pages {
            write(BUFFERS + page * PAGE, page | 1);
        }
        write(at + GIVEN, WRITTEN);
        wait_for(at, pages);
        send(&mut inflate, list, pages);
        // The first of each list alone, as each that is read may be there again.
        for page in (0..pages).step_by(LIST as usize) {
            assert!(read::<u64>(BUFFERS + page * PAGE) == 0);
        }
        write(at + GIVEN, pages as u32);
        wait_for(at, 0);
        send(&mut deflate, list, pages);
    }
}

fn ask_for_bytes(entropy: Place, arena: &mut Arena) {
    let device = entropy.reset(0, 0);
    let mut ring = device.ring(0, DEPTH, arena);
    device.done();
    let at = arena.take_zeroed(RANDOM);
    assert!(exchange(&mut ring, at, RANDOM | WRITE) == RANDOM as u32);
    // All of eight bytes are 0 once in ages.
    assert!((at..at + RANDOM).step_by(8).all(|word| read::<u64>(word) != 0));
}

/// Until the balloon's owner wants so many pages.
fn wait_for(at: u64, pages: u64) {
    while u64::from(read::<u32>(at + WANTED)) != pages {
        core::hint::spin_loop();
    }
}

/// The numbers of all pages, by lists, each when the one before has come back.
fn send(ring: &mut Ring, list: u64, pages: u64) {
    for first in (0..pages).step_by(LIST as usize) {
        let count = LIST.min(pages - first);
        for nth in 0..count {
            // From the last to the first: an order is not promised.
            let page = first + count - 1 - nth;
            write(list + nth * 4, (BUFFERS / PAGE + page) as u32);
        }
        exchange(ring, list, count * 4);
    }
}

/// Hands one buffer to the device and waits for it; how much was written to it.
fn exchange(ring: &mut Ring, at: u64, rest: u64) -> u32 {
    ring.describe(0, at, rest);
    ring.set_head(ring.put, 0);
    ring.put = ring.put.wrapping_add(1);
    ring.show();
    while ring.done() == 0 {
        core::hint::spin_loop();
    }
    let (_, written) = ring.take();
    barrier();
    written
}

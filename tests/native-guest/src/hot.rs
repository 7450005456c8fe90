//! Memory that is plugged block by block (virtio 1.2, 5.15): the guest has as much as its owner wants, writes all of it
//! that its window shows, and looks time and again whether that is still there.

use crate::memory::{Arena, WINDOW_SHOWN, barrier, read, write};
use crate::virtio::{NEXT, Place, Ring, WRITE};

/// Fields of the configuration (5.15.4).
const BLOCK: u64 = 0x00;
const START: u64 = 0x10;
const REQUESTED: u64 = 0x30;

/// VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE.
const INACCESSIBLE: u64 = 1 << 1;

/// Types of requests, their bytes, and those of answers (5.15.6).
const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const REQUEST: u64 = 24;
const ANSWER: u64 = 10;

const DEPTH: u16 = 16;
const PAGE: u64 = 4096;

/// For ever, with a window to the first blocks. What is wrong ends the machine.
pub fn run(place: Place, window: u64) -> ! {
    let mut arena = Arena::new();
    let device = place.reset(INACCESSIBLE, INACCESSIBLE);
    let mut ring = device.ring(0, DEPTH, &mut arena);
    device.done();
    let (request, at) = (arena.take_zeroed(PAGE), place.configuration());
    // In halves, as drivers read what has 64 bits there.
    let field =
        |of: u64| u64::from(read::<u32>(at + of)) | u64::from(read::<u32>(at + of + 4)) << 32;
    let (block, start) = (field(BLOCK), field(START));
    let mut has = 0;
    loop {
        let wanted = (field(REQUESTED) / block).min(WINDOW_SHOWN / block);
        while has < wanted {
            ask(&mut ring, request, PLUG, start + has * block);
            for page in pages(window, has, block) {
                assert!(read::<u64>(page) == 0);
                write(page, page | 1);
            }
            has += 1;
        }
        while has > wanted {
            has -= 1;
            ask(&mut ring, request, UNPLUG, start + has * block);
        }
        for nth in 0..has {
            assert!(pages(window, nth, block).all(|page| read::<u64>(page) == page | 1));
        }
        if has == 0 {
            // Of a slot without a block there is nothing.
            assert!(read::<u64>(window) == u64::MAX);
        }
    }
}

fn pages(window: u64, nth: u64, block: u64) -> impl Iterator<Item = u64> {
    (0..block / PAGE).map(move |page| window + nth * block + page * PAGE)
}

/// Asks for one block, and waits until it is done.
fn ask(ring: &mut Ring, at: u64, kind: u16, address: u64) {
    let answer = at + 64;
    write(at, u64::from(kind));
    write(at + 8, address);
    write(at + 16, 1u64);
    write(answer, u64::MAX);
    ring.describe(0, at, REQUEST | NEXT | 1 << 48);
    ring.describe(1, answer, ANSWER | WRITE);
    ring.set_head(ring.put, 0);
    ring.put = ring.put.wrapping_add(1);
    ring.show();
    while ring.done() == 0 {
        core::hint::spin_loop();
    }
    let (_, written) = ring.take();
    barrier();
    assert!(written == ANSWER as u32 && read::<u64>(answer) == 0);
}

//! Guest memory and the windows to BARs. The low 4 GiB are mapped where they are.

use core::ptr;
use core::sync::atomic::{Ordering, compiler_fence, fence};

/// Reads what is at an address, once: a physical one below 4 GiB, or one of a window.
pub fn read<T: Copy>(at: u64) -> T {
    // SAFETY: both are mapped, and any bytes are a T of those that are read here, which are numbers.
    unsafe { ptr::read_volatile(at as *const T) }
}

/// Writes to such an address, once.
pub fn write<T: Copy>(at: u64, value: T) {
    // SAFETY: both are mapped, and what is written to is none of Rust's memory: the arena below, or
    // registers.
    unsafe { ptr::write_volatile(at as *mut T, value) }
}

/// Copies bytes that do not overlap. What was read before is read before, and what is written after is written after.
pub fn copy(to: u64, from: u64, len: u64) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as for `write`, of all the bytes.
    unsafe { ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, len as usize) }
    compiler_fence(Ordering::SeqCst);
}

/// Writes the same byte again and again, in the same order to others.
pub fn fill(at: u64, len: u64, byte: u8) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as for `write`, of all the bytes.
    unsafe { ptr::write_bytes(at as *mut u8, byte, len as usize) }
    compiler_fence(Ordering::SeqCst);
}

/// What was written before is out before anything is read after.
pub fn barrier() {
    fence(Ordering::SeqCst);
}

/// Where memory for rings and buffers begins: behind the guest itself and what loaders put below.
pub const ARENA: u64 = 32 << 20;
/// Where buffers begin that are not a device's: the arena ends there.
pub const BUFFERS: u64 = 64 << 20;

/// Hands out memory that nothing else uses.
pub struct Arena(u64);

impl Arena {
    /// All of it, for one device at a time.
    pub fn new() -> Arena {
        Arena(ARENA)
    }

    /// The second half of it, for a disk beside a card.
    pub fn second() -> Arena {
        Arena(ARENA + (BUFFERS - ARENA) / 2)
    }

    /// `len` bytes for a ring, aligned to a page and zeroed: a device before may have used them.
    pub fn take_zeroed(&mut self, len: u64) -> u64 {
        let at = self.take(len);
        for word in (at..at + len).step_by(8) {
            write(word, 0u64);
        }
        at
    }

    /// `len` bytes for buffers, aligned to a page.
    pub fn take(&mut self, len: u64) -> u64 {
        let at = self.0;
        self.0 += len.next_multiple_of(4096);
        at
    }
}

const ENTRIES: usize = 512;
const LARGE: u64 = 2 << 20;
/// Bits of an address within a large page.
pub const IN_LARGE: u64 = LARGE - 1;
/// What [`map`] shows of a window, from the large page on that its BAR begins in.
pub const WINDOW_SHOWN: u64 = 8 * LARGE;
/// Addresses that a window takes up.
const WINDOW: u64 = 1 << 30;
/// Windows begin here, and each has an entry of the second table of its own.
const WINDOWS_AT: u64 = 512 << 30;
/// For the BARs of three devices, and of each of them.
pub const WINDOWS: usize = 18;
pub const WINDOWS_EACH: usize = 6;
/// One more, for memory that is plugged, and where that begins in a machine with little other memory.
pub const HOT_WINDOW: usize = WINDOWS;
pub const HOT: u64 = 4 << 30;

#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

unsafe extern "C" {
    static mut pml4: Table;
}
static mut SECOND: Table = Table([0; ENTRIES]);
static mut DIRECTORIES: [Table; WINDOWS + 1] = [const { Table([0; ENTRIES]) }; WINDOWS + 1];

/// Present, writable, for user mode.
const OPEN: u64 = 7;
/// And of 2 MiB.
const OPEN_LARGE: u64 = 0x87;

/// Maps window `index` to the physical address `at`, which may be anywhere; where that is to be found. To
/// be called in kernel mode, before the window is touched for the first time. Shows 16 MiB of it.
pub fn map(index: usize, at: u64) -> u64 {
    let base = at & !IN_LARGE;
    // SAFETY: the tables are aligned and stay where they are, one CPU is at them, and entries that were
    // not present before need no flush.
    unsafe {
        let (first, second) = (&raw mut pml4, &raw mut SECOND);
        let directory = &raw mut DIRECTORIES[index];
        let (first, second, directory) = (&mut *first, &mut *second, &mut *directory);
        for (entry, page) in directory.0.iter_mut().zip(0..WINDOW_SHOWN / LARGE) {
            *entry = (base + page * LARGE) | OPEN_LARGE;
        }
        second.0[index] = directory.0.as_ptr() as u64 | OPEN;
        first.0[1] = second.0.as_ptr() as u64 | OPEN;
    }
    window(index) + (at & IN_LARGE)
}

/// Where the large page is to be found that window `index` begins with.
pub fn window(index: usize) -> u64 {
    WINDOWS_AT + index as u64 * WINDOW
}

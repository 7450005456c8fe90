//! Registers that need no trap: unmask registers and receive doorbells, memory that lanes look at.
//!
//! A driver asks for each interrupt anew, most often with none due, and tells of buffers long before
//! they are wanted: exits for notes to the device. So wherever the guest has BAR 0 these registers
//! are memory, and a lane looks when it has an interrupt to send or needs a buffer. Only while one of
//! these is missing it has to look again and again.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use device_core::kick::borrow;
use vmm_sys_util::eventfd::EventFd;

use crate::cells::Cells;
use crate::registers::{QUIET_STRIDE, RX_DOORBELL, UNMASK};
use crate::ring::SqDoorbell;

/// The registers of some pairs.
pub struct Quiet {
    cells: Cells,
    /// They are memory; else they are trapped.
    open: AtomicBool,
}

impl Quiet {
    /// Trapped, with nothing written.
    pub fn new(cells: Cells, pairs: u16) -> Quiet {
        let quiet = Quiet { cells, open: AtomicBool::new(false) };
        for pair in 0..pairs {
            quiet.cells.take(offset(pair, UNMASK));
            quiet.cells.take(offset(pair, RX_DOORBELL));
        }
        quiet
    }

    /// The guest has them at `at` now. Once this returns none of its writes goes to where they were.
    pub fn mapped(&self, at: Option<u64>) {
        let placed = self.cells.place(at);
        if let Err(error) = &placed {
            tracing::warn!("an ENA card traps more than it needs to, which is slower: {error}");
        }
        self.open.store(placed.is_ok() && at.is_some(), Ordering::Relaxed);
    }
}

/// One of the registers; the default one is always trapped.
#[derive(Default)]
pub struct Register(Option<(Arc<Quiet>, u64)>);

impl Register {
    /// That of `pair` at offset `register` of its own.
    pub fn new(quiet: Arc<Quiet>, pair: u16, register: u64) -> Register {
        Register(Some((quiet, offset(pair, register))))
    }

    /// What was written since the last look.
    pub fn take(&self) -> Option<u32> {
        let (quiet, offset) = self.0.as_ref()?;
        quiet.cells.take(*offset)
    }

    /// The same, and it stays there.
    pub fn peek(&self) -> Option<u32> {
        let (quiet, offset) = self.0.as_ref()?;
        quiet.cells.peek(*offset)
    }

    /// Whether writes have to be looked for.
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|(quiet, _)| quiet.open.load(Ordering::Relaxed))
    }
}

fn offset(pair: u16, register: u64) -> u64 {
    u64::from(pair).wrapping_mul(QUIET_STRIDE).wrapping_add(register)
}

/// A receive queue's doorbell. Only the queue's lane looks at it.
pub struct RxDoorbell {
    bell: SqDoorbell,
    register: Register,
}

impl RxDoorbell {
    /// A doorbell at 0 that wakes the lane by `waker`; `register` is where it may be memory.
    pub fn new(waker: EventFd, register: Register) -> RxDoorbell {
        RxDoorbell { bell: SqDoorbell::new(waker), register }
    }

    /// A write that came as an exit.
    pub fn ring(&self, value: u32) {
        // What was written before must not come after.
        self.register.take();
        self.bell.ring(value & 0xffff);
    }

    /// What was written last, for anyone to see.
    pub fn told(&self) -> u32 {
        self.register.peek().map_or_else(|| self.bell.tail(), |tail| tail & 0xffff)
    }

    /// What was written last. Untrusted: any 16 bits may be in it.
    pub fn tail(&self) -> u32 {
        self.look();
        self.bell.tail()
    }

    /// The lane has taken all up to `seen` and wants more. False if there is more already.
    pub fn may_sleep(&self, seen: u32) -> bool {
        self.look();
        self.bell.may_sleep(seen)
    }

    /// Whether nobody will tell of more.
    pub fn must_look(&self) -> bool {
        self.register.is_open()
    }

    /// A queue is where it was: this was rung for it, and nothing since.
    pub fn note(&self, tail: u16) {
        self.register.take();
        self.bell.note(tail.into());
    }

    /// A queue is made anew: what was rung for the old one does not count.
    pub fn reset(&self) {
        self.register.take();
        self.bell.reset();
    }

    /// What wakes the lane.
    pub fn waker(&self) -> &EventFd {
        self.bell.waker()
    }

    /// The descriptor of [`RxDoorbell::waker`], for the lane to wait on.
    pub fn kick(&self) -> BorrowedFd<'_> {
        borrow(self.waker())
    }

    fn look(&self) {
        if let Some(tail) = self.register.take() {
            self.bell.note(tail & 0xffff);
        }
    }
}

/// Most often, two looks for something are this part of the time apart that it has been missing.
const PART: u32 = 8;
/// But no less than this.
pub const NAP: Duration = Duration::from_micros(50);
/// And no more than this, for what drivers take their time with.
const LONGEST_NAP: Duration = Duration::from_millis(10);

/// Looks for something that nobody will tell of.
#[derive(Debug)]
pub struct Naps {
    part: u32,
    longest: Duration,
    since: Option<Instant>,
}

impl Default for Naps {
    fn default() -> Naps {
        Naps::new(PART, LONGEST_NAP)
    }
}

impl Naps {
    /// Naps of one `part`-th of the time that something has been missing, and no longer than `longest`.
    pub const fn new(part: u32, longest: Duration) -> Naps {
        Naps { part, longest, since: None }
    }

    /// It is not there; when to look next.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        let nap = waited.checked_div(self.part).unwrap_or(NAP).clamp(NAP, self.longest);
        now.checked_add(nap)
    }

    /// It is there, or no longer wanted.
    pub fn end(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
#[path = "quiet_test.rs"]
mod tests;

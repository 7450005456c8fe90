//! A doorbell whose value matters: from the vCPU that writes it to the worker that owns the ring.
//!
//! An ioeventfd loses the value that was written, so a card whose doorbell carries its ring's tail
//! takes the write itself. A worker that is at work sees the new tail anyway; only a sleeper costs
//! a wake. No write is lost: `tests/loom.rs` tries all interleavings.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// How a sleeping worker is woken; a spare wake does no harm.
pub trait Wake {
    /// Wakes it; never waits.
    fn wake(&self);
}

/// The tail of one ring, as the guest wrote it last.
#[derive(Debug)]
pub struct Doorbell<W> {
    tail: AtomicU32,
    asleep: AtomicBool,
    wake: W,
}

impl<W: Wake> Doorbell<W> {
    /// A doorbell at 0 that nobody waits for.
    pub fn new(wake: W) -> Doorbell<W> {
        Doorbell { tail: AtomicU32::new(0), asleep: AtomicBool::new(false), wake }
    }

    /// The guest's write: everything it did before is seen by who reads this tail. Whether it woke
    /// somebody.
    pub fn ring(&self, tail: u32) -> bool {
        self.tail.store(tail, Ordering::Release); // pairs with `tail`
        // Pairs with `may_sleep`: of two swaps of one flag the later sees the earlier, so either
        // the sleeper is woken here or it sees the new tail there.
        let asleep = self.asleep.swap(false, Ordering::AcqRel);
        if asleep {
            self.wake.wake();
        }
        asleep
    }

    /// The guest's write, found by the worker itself.
    pub fn note(&self, tail: u32) {
        self.tail.store(tail, Ordering::Release);
    }

    /// What was written last. Untrusted: any value may be in it.
    pub fn tail(&self) -> u32 {
        self.tail.load(Ordering::Acquire) // pairs with `ring`
    }

    /// The worker has done all up to `seen` and wants to be woken for more. False if there is more
    /// already: then go on.
    pub fn may_sleep(&self, seen: u32) -> bool {
        self.asleep.swap(true, Ordering::AcqRel); // pairs with `ring`
        if self.tail() == seen {
            return true;
        }
        self.asleep.swap(false, Ordering::AcqRel);
        false
    }

    /// The worker looks by itself until it asks to sleep the next time.
    pub fn stay_awake(&self) {
        // A swap as in `ring`: what was written before it is seen by the worker's next look.
        self.asleep.swap(false, Ordering::AcqRel);
    }

    /// Back to 0, for a new ring; no worker may own the old one any more.
    pub fn reset(&self) {
        self.tail.store(0, Ordering::Release);
        self.asleep.store(false, Ordering::Release);
    }

    /// What [`Doorbell::ring`] wakes.
    pub fn waker(&self) -> &W {
        &self.wake
    }
}

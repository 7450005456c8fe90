//! What vCPUs write for requests: no lock and no allocation on this page, but where somebody waits for
//! room in a completion queue.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use device_core::GuestRam;
use device_core::doorbell::{Doorbell, Wake};
use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::alarm::BadDoorbell;
use crate::shadow::Shadow;
use crate::sync::Words;

/// The tail doorbell of one submission queue; as old as the controller.
pub struct SqBell {
    bell: Doorbell<EventFd>,
    /// Entries of the queue; 0 while there is none.
    size: AtomicU16,
    /// The same doorbell in memory.
    pub shadow: Shadow,
}

impl SqBell {
    /// Of no queue yet. Fails if the host has no eventfd left.
    pub fn new(memory: GuestRam) -> io::Result<SqBell> {
        let waker = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let (size, shadow) = (AtomicU16::new(0), Shadow::new(Words::new(memory)));
        Ok(SqBell { bell: Doorbell::new(waker), size, shadow })
    }

    /// A queue of `size` entries is made, and its tail is 0. No ring may use the bell.
    pub fn open(&self, size: u16) {
        self.bell.reset();
        self.size.store(size, Ordering::Relaxed);
    }

    /// What was written to the register last.
    pub fn told(&self) -> u16 {
        self.bell.tail() as u16
    }

    /// This was; whether the queue has such an entry.
    pub fn tell(&self, tail: u16) -> bool {
        self.bell.note(tail.into());
        tail < self.size.load(Ordering::Relaxed)
    }

    /// There is no queue any more.
    pub fn close(&self) {
        self.size.store(0, Ordering::Relaxed);
        self.shadow.forget();
    }

    /// The host's write to the register. Fails, with nothing changed, if there is no queue or it has no
    /// such entry.
    pub fn write(&self, tail: u16) -> Result<(), BadDoorbell> {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 {
            return Err(BadDoorbell::NoQueue);
        }
        if self.shadow.is_placed() {
            // What counts is in memory.
            self.bell.waker().wake();
        } else if tail < size {
            self.bell.ring(tail.into());
        } else {
            return Err(BadDoorbell::Value);
        }
        Ok(())
    }

    /// The tail as last told. Fails if that is no entry of the queue.
    pub fn tail(&self) -> Result<u16, BadDoorbell> {
        let tail = self.shadow.index().unwrap_or(self.bell.tail() as u16);
        let is_entry = tail < self.size.load(Ordering::Relaxed);
        is_entry.then_some(tail).ok_or(BadDoorbell::Value)
    }

    /// The ring has taken all up to `seen` and wants to be woken for more. False if there is more
    /// already: then go on.
    pub fn may_sleep(&self, seen: u16) -> bool {
        if self.shadow.is_placed() {
            self.shadow.want(seen);
            // An impossible tail is nothing to wake up for.
            return self.tail().map_or(true, |tail| tail == seen);
        }
        self.bell.may_sleep(seen.into())
    }

    /// The ring has taken all up to `seen`, and looks by itself until it asks to sleep the next time.
    pub fn stay_awake(&self, seen: u16) {
        self.shadow.rest(seen);
        self.bell.stay_awake();
    }

    /// What wakes the ring's lane, for the kernel to signal in a register write's place.
    pub fn waker(&self) -> &EventFd {
        self.bell.waker()
    }

    /// The same, for the lane to wait on.
    pub fn kick(&self) -> BorrowedFd<'_> {
        borrow(self.waker())
    }
}

/// The doorbell of each submission queue that can be but the admin queue's, by number from 1 on.
pub struct SqBells(Vec<Arc<SqBell>>);

impl SqBells {
    /// For `queues` queues. Fails if the host has no eventfds left.
    pub fn new(queues: u16, memory: &GuestRam) -> io::Result<SqBells> {
        let bell = |_| SqBell::new(memory.clone()).map(Arc::new);
        Ok(SqBells((0..queues).map(bell).collect::<io::Result<_>>()?))
    }

    /// That of submission queue `queue`, if there can be such a queue.
    pub fn get(&self, queue: u16) -> Option<&Arc<SqBell>> {
        self.0.get(usize::from(queue.checked_sub(1)?))
    }
}

#[cfg(test)]
#[path = "doorbells_test.rs"]
mod tests;

//! One pair of rings that the kernel serves, on one queue of a TAP.

use std::io;
use std::os::fd::BorrowedFd;

use device_core::Ram;
use device_core::kick::borrow;
use device_core::worker::EventSet;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::backend::{NetQueue, QueueError, Room, tap};
use crate::frame::{RxFrame, TxFrame};
use crate::lent::{Borrower, Ring, Rings, Standing};

/// The kernel's numbers of a pair's rings (linux/vhost.h; VHOST_NET_VQ_RX and VHOST_NET_VQ_TX of its drivers/vhost/net.c).
pub const RX: u32 = 0;
/// What the guest sends by.
pub const TX: u32 = 1;

/// What the kernel is asked for one pair of rings; each fails as its ioctl does.
///
/// Of a ring with a backend the kernel accesses the memory at any time, until the backend is taken away; so long it is to
/// stay mapped.
pub trait Calls: Send + 'static {
    /// What of the negotiated features concerns it; others are left out.
    fn set_features(&mut self, negotiated: u64) -> io::Result<()>;
    /// All of the guest's memory.
    fn set_memory(&mut self, ram: &Ram) -> io::Result<()>;
    /// Where a ring is, and where to go on.
    fn set_ring(&mut self, number: u32, ring: &Ring) -> io::Result<()>;
    /// The available entry that comes next.
    fn next(&mut self, number: u32) -> io::Result<u16>;
    /// What the guest signals, or nothing.
    fn set_kick(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()>;
    /// What signals the guest, or nothing.
    fn set_call(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()>;
    /// What is signalled once the ring is found impossible.
    fn set_error(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()>;
    /// The TAP's queue; with none it returns after the last access to the ring, or what it leads to.
    fn set_backend(&mut self, number: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()>;
}

/// The queue, and the rings that the kernel has.
pub struct Queue<C> {
    /// Before what it may be accessing.
    kernel: C,
    rings: Option<Rings>,
    tap: tap::Queue,
    /// Signalled by the kernel.
    error: EventFd,
    /// The host may use it.
    on: bool,
    /// Frames pass while it is on.
    passes: bool,
}

impl<C: Calls> Queue<C> {
    /// No rings yet. Fails if the host has no eventfd left.
    pub fn new(tap: tap::Queue, kernel: C) -> io::Result<Queue<C>> {
        let error = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Queue { kernel, rings: None, tap, error, on: true, passes: false })
    }

    fn numbers(rings: &Rings) -> impl Iterator<Item = (u32, &Ring)> {
        [(RX, &rings.rx), (TX, &rings.tx)]
            .into_iter()
            .filter_map(|(n, ring)| Some((n, ring.as_ref()?)))
    }

    fn tell(&mut self, rings: &Rings) -> io::Result<()> {
        self.kernel.set_features(rings.features)?;
        self.kernel.set_memory(&rings.memory)?;
        for (number, ring) in Self::numbers(rings) {
            self.kernel.set_ring(number, ring)?;
            self.kernel.set_error(number, Some(borrow(&self.error)))?;
            self.kernel.set_call(number, ring.call.as_ref().and_then(|call| call.eventfd()))?;
            self.kernel.set_kick(number, Some(borrow(&ring.kick)))?;
        }
        Ok(())
    }

    /// Lets frames pass, if they may. What the driver has offered meanwhile the kernel finds by itself: it asks the TAP
    /// whether it is ready, and looks.
    fn attach(&mut self) -> io::Result<()> {
        let Some(rings) = self.rings.as_ref().filter(|_| self.on && self.passes) else {
            return Ok(());
        };
        for (number, _) in Self::numbers(rings) {
            self.kernel.set_backend(number, self.tap.poll_fd())?;
        }
        Ok(())
    }

    /// Returns after the last access to memory.
    fn detach(&mut self) -> io::Result<()> {
        let Some(rings) = &self.rings else { return Ok(()) };
        // The second one too if the first one fails.
        let mut result = Ok(());
        for (number, _) in Self::numbers(rings) {
            result = result.and(self.kernel.set_backend(number, None));
        }
        result
    }

    fn forget(&mut self, number: u32) -> io::Result<u16> {
        self.kernel.set_kick(number, None)?;
        self.kernel.set_call(number, None)?;
        self.kernel.set_error(number, None)?;
        self.kernel.next(number)
    }
}

impl<C: Calls> Borrower for Queue<C> {
    fn take(&mut self, rings: Rings, passes: bool) -> io::Result<()> {
        if self.rings.is_some() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        // Of the rings before.
        let _ = self.error.read();
        let told = self.tell(&rings);
        (self.rings, self.passes) = (Some(rings), passes);
        if let Err(error) = told.and_then(|()| self.attach()) {
            self.give_back();
            return Err(error);
        }
        Ok(())
    }

    fn give_back(&mut self) -> Option<Standing> {
        let warn = |error| tracing::error!("cannot take a ring back from vhost-net: {error}");
        self.detach().unwrap_or_else(warn);
        let rings = self.rings.take()?;
        let mut standing = Standing::default();
        for (number, _) in Self::numbers(&rings) {
            let next = self.forget(number).map_err(warn).ok();
            let place = if number == RX { &mut standing.rx } else { &mut standing.tx };
            *place = next;
        }
        Some(standing)
    }

    fn is_broken(&mut self) -> bool {
        let broken = self.error.read().is_ok() && self.rings.is_some();
        if broken {
            self.passes = false;
            if let Err(error) = self.detach() {
                tracing::error!("cannot take a broken ring from vhost-net: {error}");
            }
            if let Some(rings) = &self.rings {
                (rings.broken)();
            }
        }
        broken
    }
}

/// A lane has nothing to do here.
impl<C: Calls> NetQueue for Queue<C> {
    fn send(&mut self, _: &TxFrame) -> Result<(), QueueError> {
        Err(QueueError::Refused(io::Error::from(io::ErrorKind::Unsupported)))
    }

    fn recv(&mut self, _: Room<'_>, _: &mut RxFrame) -> Result<(), QueueError> {
        Err(QueueError::NotReady)
    }

    /// The kernel never has a queue that is off: it would stop listening to it for good.
    fn enable(&mut self, on: bool) -> io::Result<()> {
        if on {
            self.tap.enable(true)?;
            self.on = true;
            return self.attach();
        }
        self.detach()?;
        self.on = false;
        self.tap.enable(false)
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn watches(&self) -> Vec<(BorrowedFd<'_>, EventSet)> {
        vec![(borrow(&self.error), EventSet::IN)]
    }

    fn borrower(&mut self) -> Option<&mut dyn Borrower> {
        Some(self)
    }
}

#[cfg(test)]
#[path = "queue_test.rs"]
mod tests;

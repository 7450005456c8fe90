//! A kernel played by a test: it remembers what it was asked, and serves no ring.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::Ram;
use device_core::thread::Duty;
use vm_memory::GuestMemoryBackend;

use super::queue::Calls;
use crate::backend::{Limits, NetBackend, NetQueue, tap};
use crate::frame::Offloads;
use crate::lent::Ring;

/// What it was asked, in order; rings by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The negotiated features.
    Features(u64),
    /// So many regions of memory.
    Memory(usize),
    /// So many entries, and the one to begin with.
    Ring(u32, u16, u16),
    /// Whether there is a kick.
    Kick(u32, bool),
    /// Whether there is a call.
    Call(u32, bool),
    /// Whether there is something to signal errors by.
    Error(u32, bool),
    /// Whether frames pass.
    Backend(u32, bool),
    /// Where it stands.
    Next(u32),
}

/// What a test knows of it, and says.
#[derive(Default)]
pub struct Played {
    /// All of it.
    pub asked: Vec<Asked>,
    /// Available entries that it has taken, of each ring.
    pub taken: [u16; 2],
    /// Copies of the calls that it has, of each ring.
    pub calls: [Option<OwnedFd>; 2],
    /// Copies of what it signals errors by.
    pub errors: [Option<OwnedFd>; 2],
    /// Refuses the next backend with this error.
    pub refuses: Option<i32>,
}

/// The kernel's half of one pair.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Played>>);

impl Fake {
    /// What it has been asked, and plays.
    pub fn played(&self) -> MutexGuard<'_, Played> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, asked: Asked) {
        self.played().asked.push(asked);
    }
}

fn copy(fd: Option<BorrowedFd<'_>>) -> io::Result<Option<OwnedFd>> {
    fd.map(|fd| fd.try_clone_to_owned()).transpose()
}

fn put(places: &mut [Option<OwnedFd>; 2], number: u32, fd: Option<OwnedFd>) {
    if let Some(place) = places.get_mut(number as usize) {
        *place = fd;
    }
}

impl Calls for Fake {
    fn set_features(&mut self, negotiated: u64) -> io::Result<()> {
        self.note(Asked::Features(negotiated));
        Ok(())
    }

    fn set_memory(&mut self, ram: &Ram) -> io::Result<()> {
        self.note(Asked::Memory(ram.iter().count()));
        Ok(())
    }

    fn set_ring(&mut self, number: u32, ring: &Ring) -> io::Result<()> {
        self.note(Asked::Ring(number, ring.entries, ring.next));
        if let Some(taken) = self.played().taken.get_mut(number as usize) {
            *taken = ring.next;
        }
        Ok(())
    }

    fn next(&mut self, number: u32) -> io::Result<u16> {
        self.note(Asked::Next(number));
        self.played().taken.get(number as usize).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    fn set_kick(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.note(Asked::Kick(number, event.is_some()));
        Ok(())
    }

    fn set_call(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.note(Asked::Call(number, event.is_some()));
        put(&mut self.played().calls, number, copy(event)?);
        Ok(())
    }

    fn set_error(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.note(Asked::Error(number, event.is_some()));
        put(&mut self.played().errors, number, copy(event)?);
        Ok(())
    }

    fn set_backend(&mut self, number: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.note(Asked::Backend(number, tap.is_some()));
        match tap.and_then(|_| self.played().refuses.take()) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

/// A backend without a TAP, for a card of `pairs` pairs: each queue's other end is a socket.
pub struct FakeBackend(Limits);

/// A backend, its queues, and what plays the kernel for each.
pub type Stage = (FakeBackend, Vec<Box<dyn NetQueue>>, Vec<Fake>);

/// The backend, its queues, and what plays the kernel for each. Fails if the host has no descriptors left.
pub fn backend(pairs: u16, limits: Limits) -> io::Result<Stage> {
    let (mut queues, mut fakes) = (Vec::<Box<dyn NetQueue>>::new(), Vec::new());
    for _ in 0..pairs {
        let fake = Fake::default();
        let (socket, _) = std::os::unix::net::UnixDatagram::pair()?;
        let tap = tap::Queue::new(OwnedFd::from(socket).into(), false);
        queues.push(Box::new(super::Queue::new(tap, fake.clone())?));
        fakes.push(fake);
    }
    Ok((FakeBackend(limits), queues, fakes))
}

impl NetBackend for FakeBackend {
    fn name(&self) -> &str {
        "a kernel that is played"
    }

    fn limits(&self) -> Limits {
        self.0
    }

    fn duty(&self) -> Duty {
        Duty::VhostLane
    }

    fn takes_rings(&self) -> bool {
        true
    }

    fn accept(&mut self, _: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn steers(&self) -> bool {
        true
    }
}

//! What a worker is, and how it names the descriptors it waits for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Instant;

use vmm_sys_util::epoll::EventSet;

/// A file descriptor's name within one worker.
pub type Source = u16;

/// When a worker wants its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// When one of its sources is ready, or after mail.
    WhenReady,
    /// Then, or earlier if a source is ready. Lane threads keep a wait of up to a millisecond
    /// exactly; others are rounded up to milliseconds.
    At(Instant),
    /// After the others had theirs.
    Now,
    /// Likewise. It looks at all of its sources by itself, so a lane thread does not listen before each of its turns, which
    /// may be short.
    Unheard,
    /// Then, within a millisecond: a lane thread on which nobody else is due does not listen to its sources until then,
    /// so that what comes gathers and wakes nobody. To other threads it is [`Again::At`].
    Rest(Instant),
}

/// Something that an I/O thread owns and drives.
pub trait Worker: Send + 'static {
    /// First call on the thread: says which descriptors matter. If it fails, so does the hosting.
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()>;

    /// Notes that a source is ready. May be called without cause: a source that was forgotten can
    /// have an event left.
    fn ready(&mut self, source: Source, readiness: EventSet);

    /// Does a bounded share of work; follows every round of `ready`, every mail and every deadline.
    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again;
}

/// What a worker can say about the descriptors it waits for.
pub struct Interest<'a> {
    pub(super) poller: &'a mut dyn Poller,
    pub(super) slot: u16,
}

impl Interest<'_> {
    /// Watches `fd` under the name `source`. The set may hold `EDGE_TRIGGERED`; an edge-triggered
    /// eventfd needs no read, since each write to it is an edge. Fails if the host refuses.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, source: Source, set: EventSet) -> io::Result<()> {
        self.poller.add(fd.as_raw_fd(), token(self.slot, source), set)
    }

    /// Watches `fd`, which is watched already, for another set from now on; what is ready is told anew. Fails if the
    /// host refuses.
    pub fn change(&mut self, fd: BorrowedFd<'_>, source: Source, set: EventSet) -> io::Result<()> {
        self.poller.change(fd.as_raw_fd(), token(self.slot, source), set)
    }

    /// Stops watching `fd`; must come before it is closed. Fails if it is not watched.
    pub fn forget(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.poller.remove(fd.as_raw_fd())
    }
}

/// The waiting half of a thread's loop.
pub(super) trait Poller {
    fn add(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()>;
    fn change(&mut self, fd: RawFd, token: u32, set: EventSet) -> io::Result<()>;
    fn remove(&mut self, fd: RawFd) -> io::Result<()>;
}

const fn token(slot: u16, source: Source) -> u32 {
    (slot as u32) << 16 | source as u32
}

pub(super) const fn slot_and_source(token: u32) -> (u16, Source) {
    ((token >> 16) as u16, token as u16)
}

/// The slot that no worker gets: the thread's own mail.
pub(super) const MAIL: u32 = token(u16::MAX, 0);
/// The same slot's other source: the thread's timer.
pub(super) const TIMER: u32 = token(u16::MAX, 1);

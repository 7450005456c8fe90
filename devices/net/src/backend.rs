//! The host's side of the cable: where frames come from and go to.

pub mod vnet_hdr;

#[allow(unsafe_code)] // pieces for system calls
mod collect;
#[allow(unsafe_code)] // ioctl
pub(crate) mod interface;
#[cfg(any(test, feature = "testing"))]
pub mod loopback;
#[cfg(any(test, feature = "testing"))]
pub mod null;
#[allow(unsafe_code)] // socket options, the kernel's ring
pub mod packet;
#[cfg(any(test, feature = "testing"))]
pub mod script;
#[allow(unsafe_code)] // ioctl, readv, writev
pub mod tap;
#[allow(unsafe_code)] // ioctl
pub mod vhost;

use std::io;
use std::os::fd::BorrowedFd;

use device_core::scatter::Scatter;
use device_core::thread::Duty;
use device_core::worker::EventSet;

use crate::frame::{Offloads, RxFrame, TxFrame};
use crate::lent::Borrower;
use crate::rss::{Hasher, Steering};

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Offloads it takes from the guest.
    pub tx: Offloads,
    /// Offloads it can leave to the guest, once told by [`NetBackend::accept`].
    pub rx: Offloads,
    /// Largest packet behind the Ethernet header, in bytes, if it knows.
    pub mtu: Option<u16>,
}

/// What became of a frame that did not go, or of a read that brought none.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No room, or nothing there; readiness of the descriptor will tell.
    #[error("not ready")]
    NotReady,
    /// This frame cannot go; others may.
    #[error("frame refused: {0}")]
    Refused(io::Error),
    /// It may work later.
    #[error("{0}")]
    Transient(io::Error),
    /// The backend is gone for good.
    #[error("{0}")]
    Gone(io::Error),
}

/// Frames that a backend took to send them later, and could not.
#[derive(Debug, Default)]
pub struct Refused {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why the last one did not go.
    pub error: Option<QueueError>,
}

impl Refused {
    /// One more, of `len` bytes.
    pub fn add(&mut self, len: usize, error: QueueError) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len as u64);
        self.error = Some(error);
    }
}

/// Room for one incoming frame, behind its private head.
pub struct Room<'a> {
    /// Guest buffers, of which the first `skip` bytes are taken.
    pub buffers: &'a Scatter,
    /// Bytes at the front of `buffers` that are taken.
    pub skip: usize,
    /// Takes what does not fit into the buffers; large enough for any frame.
    pub spill: &'a mut [u8],
}

/// One queue of a backend, owned by one lane.
pub trait NetQueue: Send + 'static {
    /// First call on the lane's thread: makes what belongs to that thread. Nothing can be made there later, when
    /// the thread is shut in.
    fn begin(&mut self) {}

    /// Sends one frame, head and body, whole, or keeps it until [`NetQueue::flush`]. An error says what is to
    /// become of it. Until the flush the body's memory is read.
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError>;

    /// Sends what was kept, in order; says which of that did not go.
    fn flush(&mut self) -> Refused {
        Refused::default()
    }

    /// Receives one frame: its first bytes to `frame.head`, then to the buffers, the rest to the
    /// spill. No frame is cut. With [`QueueError::NotReady`] there is none.
    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError>;

    /// Readiness of a descriptor spoke of an error, which the next [`NetQueue::recv`] is to tell.
    fn suspect(&mut self) {}

    /// Frames that came and found no room since this was asked last, if the backend tells.
    fn lost(&mut self) -> u64 {
        0
    }

    /// Turns the queue on or off for the host's steering. Queues go on from the lowest and off from
    /// the highest. Fails if the host refuses.
    fn enable(&mut self, on: bool) -> io::Result<()>;

    /// What to watch edge-triggered for readiness.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// All descriptors to watch edge-triggered, and what for.
    fn watches(&self) -> Vec<(BorrowedFd<'_>, EventSet)> {
        self.poll_fd().map(|fd| (fd, EventSet::IN | EventSet::OUT)).into_iter().collect()
    }

    /// Who takes a pair's rings whole, if this is a queue of which no frame comes by a lane.
    fn borrower(&mut self) -> Option<&mut dyn Borrower> {
        None
    }

    /// Another handle on the same queue: for other lanes to send by, and for a sorter to read by. Fails
    /// if the backend has no such handles, or the host no descriptor left.
    fn share(&self) -> io::Result<Box<dyn NetQueue>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// From now on frames come from a sorter, or from the backend again
    /// ([`crate::rss::sorter`]). Fails if the host refuses to turn the queue on or off.
    fn sort(&mut self, on: bool) -> io::Result<()> {
        let _ = on;
        Ok(())
    }
}

/// All of a backend but its queues; owned by the port.
pub trait NetBackend: Send + 'static {
    /// The backend's name for people, such as `tap tap0`.
    fn name(&self) -> &str;

    /// What it can do; the same at all times.
    fn limits(&self) -> Limits;

    /// What the threads of its lanes do: by that they may make the calls that its queues need.
    fn duty(&self) -> Duty {
        Duty::TapLane
    }

    /// Whether its queues take rings whole ([`NetQueue::borrower`]), so that lanes move no frames.
    fn takes_rings(&self) -> bool {
        false
    }

    /// From now on the guest can take these offloads in received frames. Fails if the host refuses.
    fn accept(&mut self, rx: Offloads) -> io::Result<()>;

    /// Whether [`NetBackend::steer`] can follow a guest's table exactly.
    fn steers(&self) -> bool {
        false
    }

    /// From now on frames come by the first `count` queues only. All of them have been told
    /// ([`NetQueue::enable`]), and where that is enough there is nothing left to do. Fails if the host refuses.
    fn spread(&mut self, count: u16) -> io::Result<()> {
        let _ = count;
        Ok(())
    }

    /// From now on frames belong into the queues that `to` names, or where the backend likes.
    /// Says how well it can follow. Fails if the host refuses.
    fn steer(&mut self, to: Option<&Hasher>) -> io::Result<Steering> {
        let _ = to;
        Ok(Steering::ByFlow)
    }
}

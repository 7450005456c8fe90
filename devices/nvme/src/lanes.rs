//! What the controller needs of the disk behind it: lanes, and what it puts on them.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use block::port::DiskPort;
use block::request::{Operation, Outcome, Request};
use block::ring::{BlockRing, Next};
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::alarm::Alarm;
use crate::ring::{QueueRing, Token};

/// What to do with a ring that came home; on the lane's thread, so it may not wait.
pub type Homecoming = Box<dyn FnOnce(Ring) + Send>;

/// Hears whether a command was taken back; on the lane's thread, so it may not wait.
pub type Told = Box<dyn FnOnce(bool) + Send>;

/// Lanes of a disk. None of the calls waits for requests in flight.
pub trait Lanes: Send + Sync {
    /// How many there are.
    fn count(&self) -> u16;

    /// Hands a ring to a lane that has none, which takes its requests from now on. Fails if the host
    /// refuses to watch the ring's kick.
    fn plug(&self, lane: u16, ring: Ring) -> io::Result<()>;

    /// The lane takes no more requests; once those in flight have ended and their last DMA is over, its
    /// ring is passed to `then`. Nothing happens if it has none.
    fn unplug_then(&self, lane: u16, then: Homecoming);

    /// The host wants command `id` of a lane's queue back; `then` hears whether that could still be, once the
    /// command's completion is seen.
    fn take_back_then(&self, lane: u16, id: u16, then: Told);

    /// Bytes of the disk.
    fn size(&self) -> u64;
}

impl Lanes for Arc<DiskPort<Ring>> {
    fn count(&self) -> u16 {
        self.lanes()
    }

    fn plug(&self, lane: u16, ring: Ring) -> io::Result<()> {
        DiskPort::plug(self, lane, ring)
    }

    fn unplug_then(&self, lane: u16, then: Homecoming) {
        // There is such a lane; another call cannot have been first.
        DiskPort::unplug_then(self, lane, move |ring| {
            if let Some(ring) = ring {
                then(ring);
            }
        });
    }

    fn take_back_then(&self, lane: u16, id: u16, then: Told) {
        DiskPort::take_back_then(self, lane, id, then);
    }

    fn size(&self) -> u64 {
        self.facts().size
    }
}

/// A ring on a lane.
pub enum Ring {
    /// A submission queue's.
    Queue(QueueRing),
    /// A flush of the controller's own.
    Flush(FlushRing),
}

/// What became of a flush of the controller's own; shared by its ring and the controller.
#[derive(Debug, Default)]
pub struct FlushState(AtomicU8);

const WANTED: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

impl FlushState {
    /// Whether it went well, once it has ended.
    pub fn ended(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            WANTED => None,
            ended => Some(ended == DONE),
        }
    }
}

/// One flush that no host asked for: before the controller says that it is shut down, or that it has no
/// write cache any more.
pub struct FlushRing {
    kick: EventFd,
    given: bool,
    state: Arc<FlushState>,
    alarm: Arc<Alarm>,
}

impl FlushRing {
    /// Sets `state` and calls `alarm` when it has ended. Fails if the host has no eventfd left.
    pub fn new(state: Arc<FlushState>, alarm: Arc<Alarm>) -> io::Result<FlushRing> {
        let kick = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(FlushRing { kick, given: false, state, alarm })
    }

    fn next(&mut self, request: &mut Request) -> Next<Token> {
        if std::mem::replace(&mut self.given, true) {
            return Next::Empty;
        }
        request.operation = Operation::Flush;
        Next::Request(Token::of_controller())
    }

    fn complete(&mut self, outcome: Outcome) {
        let ended = if outcome == Outcome::Done { DONE } else { FAILED };
        self.state.0.store(ended, Ordering::Release); // pairs with `ended`
        self.alarm.call();
    }
}

impl BlockRing for Ring {
    type Token = Token;

    fn next(&mut self, request: &mut Request) -> Result<Next<Token>, GuestFault> {
        match self {
            Ring::Queue(ring) => ring.next(request),
            Ring::Flush(ring) => Ok(ring.next(request)),
        }
    }

    fn put_back(&mut self, token: Token) {
        match self {
            Ring::Queue(ring) => ring.put_back(token),
            Ring::Flush(ring) => ring.given = false,
        }
    }

    fn complete(&mut self, token: Token, outcome: Outcome) -> Result<(), GuestFault> {
        match self {
            Ring::Queue(ring) => ring.complete(token, outcome),
            Ring::Flush(ring) => ring.complete(outcome),
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        match self {
            Ring::Queue(ring) => ring.publish(),
            Ring::Flush(_) => Ok(false),
        }
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        match self {
            Ring::Queue(ring) => ring.may_sleep(),
            Ring::Flush(ring) => Ok(ring.given),
        }
    }

    fn has_next(&mut self) -> bool {
        match self {
            Ring::Queue(ring) => ring.has_next(),
            Ring::Flush(ring) => !ring.given,
        }
    }

    fn stay_quiet(&mut self) {
        if let Ring::Queue(ring) = self {
            ring.stay_quiet();
        }
    }

    fn is_called(&self, token: &Token, name: u16) -> bool {
        match self {
            Ring::Queue(_) => token.is_of(name),
            Ring::Flush(_) => false,
        }
    }

    fn take_back(&mut self, name: u16) -> Result<bool, GuestFault> {
        match self {
            Ring::Queue(ring) => ring.take_back(name),
            Ring::Flush(_) => Ok(false),
        }
    }

    fn has_shown_all(&self) -> bool {
        match self {
            Ring::Queue(ring) => ring.has_shown_all(),
            Ring::Flush(_) => true,
        }
    }

    fn write_through(&self) -> bool {
        match self {
            Ring::Queue(ring) => ring.write_through(),
            Ring::Flush(_) => false,
        }
    }

    fn broken(&mut self, fault: GuestFault) {
        if let Ring::Queue(ring) = self {
            ring.broken(fault);
        }
    }

    fn kick(&self) -> BorrowedFd<'_> {
        match self {
            Ring::Queue(ring) => ring.kick(),
            Ring::Flush(ring) => borrow(&ring.kick),
        }
    }
}

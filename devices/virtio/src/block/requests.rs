//! A request queue in work: chains become requests, and what became of them a status.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use block::request::{Operation, Outcome, Request};
use block::ring::{BlockRing, Next};
use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP};
use vm_memory::{Bytes, GuestAddress};

use super::features;
use super::grammar::{ID_LEN, Wish, parse, status};
use crate::device::{LiveQueue, Notice};
use crate::live::Rest;
use crate::ring::{Buffer, SplitRing};

const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPP: u8 = VIRTIO_BLK_S_UNSUPP as u8;

const TWICE: GuestFault = GuestFault("a chain is on offer that is in work");
const NO_STATUS: GuestFault = GuestFault("a status is not in memory");

/// What all queues of a disk share.
pub(super) struct Common {
    /// What the driver reads as its name: NUL behind, if it is shorter.
    pub serial: [u8; ID_LEN],
    /// The driver has the cache on.
    pub writeback: AtomicBool,
    /// There is one.
    pub has_cache: bool,
}

/// A request queue in work.
pub struct Requests {
    /// All of the live queue but its ring.
    rest: Rest,
    ring: SplitRing,
    memory: GuestRam,
    negotiated: u64,
    common: Arc<Common>,
    notice: Arc<dyn Notice>,
    /// The last chain's.
    buffers: Vec<Buffer>,
    /// By head: the chain is in work, so a driver that offers it again has lost its mind.
    in_work: Vec<bool>,
}

/// A chain in work.
pub struct Token {
    head: u16,
    /// Guest-physical address of the status.
    status: u64,
    /// Bytes that were written besides it, if it succeeds.
    written: u32,
}

impl Requests {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub(super) fn new(
        queue: LiveQueue,
        memory: GuestRam,
        negotiated: u64,
        common: Arc<Common>,
        notice: Arc<dyn Notice>,
    ) -> Result<Requests, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        let ring = SplitRing::new(ring, memory.clone(), negotiated)?;
        let in_work = vec![false; ring.size().into()];
        let buffers = Vec::new();
        Ok(Requests { rest, ring, memory, negotiated, common, notice, buffers, in_work })
    }

    /// Gives the queue back, to go on later.
    pub(super) fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }

    fn answer(&mut self, head: u16, at: u64, status: u8, written: u32) -> Result<(), GuestFault> {
        // Last, and over whatever data the driver has there.
        self.memory.write_obj(status, GuestAddress(at)).map_err(|_| NO_STATUS)?;
        self.ring.push(head, written.saturating_add(1))
    }

    fn set_in_work(&mut self, head: u16, on: bool) {
        if let Some(place) = self.in_work.get_mut(usize::from(head)) {
            *place = on;
        }
    }
}

impl BlockRing for Requests {
    type Token = Token;

    fn next(&mut self, request: &mut Request) -> Result<Next<Token>, GuestFault> {
        self.buffers.clear();
        let buffers = &mut self.buffers;
        let popped = self.ring.pop_any(|buffer| {
            buffers.push(buffer);
            Ok(())
        })?;
        let Some(popped) = popped else { return Ok(Next::Empty) };
        let head = popped.head;
        if self.in_work.get(usize::from(head)).is_none_or(|in_work| *in_work) {
            return Err(TWICE);
        }
        let status = status(&self.buffers, &self.memory).filter(|_| popped.fault.is_none());
        let Some(status) = status else {
            // It cannot be told what is wrong; but it has its buffers back.
            self.ring.push(head, 0)?;
            return Ok(Next::Answered);
        };
        let (refused, written) = match parse(&self.buffers, &self.memory, self.negotiated, request)
        {
            Wish::Disk => {
                self.set_in_work(head, true);
                let reads = request.operation == Operation::Read;
                let written = if reads { request.buffers.len() as u32 } else { 0 };
                return Ok(Next::Request(Token { head, status, written }));
            }
            Wish::Id if request.buffers.write_at(0, &self.common.serial) => (OK, ID_LEN as u32),
            Wish::Id => (IOERR, 0),
            Wish::Refused(status) => (status, 0),
        };
        self.answer(head, status, refused, written)?;
        Ok(Next::Answered)
    }

    fn put_back(&mut self, token: Token) {
        self.set_in_work(token.head, false);
        self.ring.unpop(1);
    }

    fn complete(&mut self, token: Token, outcome: Outcome) -> Result<(), GuestFault> {
        self.set_in_work(token.head, false);
        let (status, written) = match outcome {
            Outcome::Done => (OK, token.written),
            Outcome::Unsupported => (UNSUPP, 0),
            _ => (IOERR, 0),
        };
        self.answer(token.head, token.status, status, written)
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.rest.interrupt(self.ring.publish()?))
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.ring.arm()
    }

    fn has_next(&mut self) -> bool {
        self.ring.has_next()
    }

    fn stay_quiet(&mut self) {
        // A ring that is no longer in memory is found out by the next look.
        let _ = self.ring.stay_quiet();
    }

    /// A driver that can flush does so; one that cannot trusts in what has completed (virtio 1.2, 5.2.6.2).
    fn write_through(&self) -> bool {
        if !self.common.has_cache {
            return false;
        }
        match self.negotiated & (features::CONFIG_WCE | features::FLUSH) {
            0 => true,
            some if some & features::CONFIG_WCE != 0 => {
                !self.common.writeback.load(Ordering::Relaxed)
            }
            _ => false,
        }
    }

    fn broken(&mut self, _: GuestFault) {
        self.notice.needs_reset();
    }

    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

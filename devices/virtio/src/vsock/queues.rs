//! The guest's three queues in work (virtio 1.2, 5.10.2): packets to it, packets from it, events.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use device_core::scatter::{Scatter, ScatterError};

use super::packet::{HEADER_LEN, Header};
use crate::device::LiveQueue;
use crate::live::Rest;
use crate::ring::SplitRing;

/// Chains that are filled with one call at most: 64 KiB of Linux's buffers.
const BATCH: usize = 16;

/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (virtio 1.2, 5.10.6.7).
const TRANSPORT_RESET: [u8; 4] = 0u32.to_le_bytes();

const READABLE: GuestFault = GuestFault("a buffer to receive has a part to read");
const WRITABLE: GuestFault = GuestFault("a packet to send has a buffer to write");
const OUTSIDE_RAM: GuestFault = GuestFault("a buffer is outside of RAM");
const TOO_SMALL: GuestFault = GuestFault("a receive buffer does not hold the header");
const NO_ROOM: GuestFault = GuestFault("a receive buffer has no room for data");
const TOO_MANY_PIECES: GuestFault =
    GuestFault("the header of a receive buffer is in too many pieces");
const SMALL_EVENT: GuestFault = GuestFault("an event buffer does not hold an event");

/// All three.
pub(super) struct Queues {
    pub rx: Receive,
    pub tx: Transmit,
    pub events: Events,
}

/// Packets to the guest.
pub(super) struct Receive {
    rest: Rest,
    ring: SplitRing,
    /// Places of the headers of `chains`, each [`HEADER_LEN`] bytes.
    headers: Scatter,
    /// Places for data behind them.
    room: Scatter,
    chains: Vec<Chain>,
}

struct Chain {
    head: u16,
    room: usize,
}

impl Receive {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(queue: LiveQueue, memory: GuestRam, negotiated: u64) -> Result<Receive, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        let ring = SplitRing::new(ring, memory.clone(), negotiated)?;
        let (headers, room) = (Scatter::new(memory.clone()), Scatter::new(memory));
        Ok(Receive { rest, ring, headers, room, chains: Vec::with_capacity(BATCH) })
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(mut self) -> LiveQueue {
        self.release();
        self.rest.with(self.ring.into_queue())
    }

    /// Puts one packet without data before the guest; false if it has no buffer for it.
    pub fn put(&mut self, header: &Header) -> Result<bool, GuestFault> {
        if !self.take_chain()? {
            return Ok(false);
        }
        let Some(chain) = self.chains.pop() else { return Ok(false) };
        self.headers.write_at(0, &header.bytes());
        self.forget();
        self.ring.push(chain.head, HEADER_LEN as u32)?;
        Ok(true)
    }

    /// Reserves room for up to `want` bytes of data, of several buffers if it is a `stream`; `None` if the
    /// guest has no buffer. [`Receive::deliver`] or [`Receive::release`] ends that.
    pub fn reserve(&mut self, want: usize, stream: bool) -> Result<Option<&Scatter>, GuestFault> {
        let most = if stream { BATCH } else { 1 };
        while self.chains.len() < most && (self.chains.is_empty() || self.room.len() < want) {
            if !self.take_chain()? {
                break;
            }
        }
        if self.chains.is_empty() {
            return Ok(None);
        }
        if self.room.is_empty() {
            self.release();
            return Err(NO_ROOM);
        }
        self.room.truncate(want);
        Ok(Some(&self.room))
    }

    /// Puts `bytes` of data, which are in what is reserved, before the guest: a packet for each buffer. What
    /// is left goes back. Returns the number of packets.
    pub fn deliver(&mut self, header: &Header, bytes: usize) -> Result<u16, GuestFault> {
        let (mut left, mut packets) = (bytes, 0u16);
        for (at, chain) in (0..).step_by(HEADER_LEN).zip(&self.chains) {
            if left == 0 {
                break;
            }
            let len = left.min(chain.room);
            left = left.saturating_sub(len);
            // A batch is of less than 2^32 bytes: the credit is.
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            self.headers.write_at(at, &Header { len, ..*header }.bytes());
            self.ring.push(chain.head, len.saturating_add(HEADER_LEN as u32))?;
            packets = packets.saturating_add(1);
        }
        self.chains.drain(..usize::from(packets).min(self.chains.len()));
        self.release();
        Ok(packets)
    }

    /// Gives back what is reserved: the guest's buffers are as they were.
    pub fn release(&mut self) {
        self.ring.unpop(self.chains.len() as u16); // at most a batch
        self.forget();
    }

    fn forget(&mut self) {
        self.chains.clear();
        self.headers.clear();
        self.room.clear();
    }

    /// Reserves one more chain; false if there is none, or no place for it in the lists.
    fn take_chain(&mut self) -> Result<bool, GuestFault> {
        let (headers, room) = (&mut self.headers, &mut self.room);
        let (header_before, before) = (headers.len(), room.len());
        let (mut missing, mut full) = (HEADER_LEN as u32, false);
        let popped = self.ring.pop(|buffer| {
            if !buffer.writable {
                return Err(READABLE);
            }
            let first = buffer.len.min(missing);
            missing = missing.saturating_sub(first);
            match headers.push(buffer.addr, first) {
                Ok(()) => {}
                Err(ScatterError::OutsideRam) => return Err(OUTSIDE_RAM),
                Err(ScatterError::TooManyPieces) => return Err(TOO_MANY_PIECES),
            }
            let behind = buffer.addr.checked_add(first.into()).ok_or(OUTSIDE_RAM)?;
            match room.push(behind, buffer.len.saturating_sub(first)) {
                Err(ScatterError::OutsideRam) => return Err(OUTSIDE_RAM),
                Err(ScatterError::TooManyPieces) => full = true,
                Ok(()) => {}
            }
            Ok(())
        })?;
        let Some(head) = popped else { return Ok(false) };
        if missing > 0 {
            self.ring.unpop(1);
            return Err(TOO_SMALL);
        }
        if full && self.chains.is_empty() {
            return Err(TOO_MANY_PIECES);
        }
        if full {
            self.headers.truncate(header_before);
            self.room.truncate(before);
            self.ring.unpop(1);
            return Ok(false);
        }
        let room = self.room.len().saturating_sub(before);
        self.chains.push(Chain { head, room });
        Ok(true)
    }

    /// Shows the guest what was put before it; whether it was interrupted.
    pub fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.rest.interrupt(self.ring.publish()?))
    }

    /// Asks the guest to kick with its next buffer; false if there is one.
    pub fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.ring.arm()
    }

    /// Signalled by the guest.
    pub fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

/// Packets from the guest.
pub(super) struct Transmit {
    rest: Rest,
    ring: SplitRing,
}

impl Transmit {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        negotiated: u64,
    ) -> Result<Transmit, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        Ok(Transmit { rest, ring: SplitRing::new(ring, memory, negotiated)? })
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }

    /// The next packet as the guest has it, header first; `None` if there is none. One that is in too many
    /// pieces is empty.
    pub fn next(&mut self, packet: &mut Scatter) -> Result<Option<u16>, GuestFault> {
        packet.clear();
        let mut whole = true;
        let head = self.ring.pop(|buffer| {
            if buffer.writable {
                return Err(WRITABLE);
            }
            match packet.push(buffer.addr, buffer.len) {
                Ok(()) => {}
                Err(ScatterError::OutsideRam) => return Err(OUTSIDE_RAM),
                Err(ScatterError::TooManyPieces) => whole = false,
            }
            Ok(())
        })?;
        if !whole {
            packet.clear();
        }
        Ok(head)
    }

    /// Gives a packet's buffers back.
    pub fn complete(&mut self, head: u16) -> Result<(), GuestFault> {
        self.ring.push(head, 0)
    }

    /// Shows the guest what it has back; whether it was interrupted.
    pub fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.rest.interrupt(self.ring.publish()?))
    }

    /// Asks the guest to kick with its next packet; false if there is one.
    pub fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.ring.arm()
    }

    /// Takes that back.
    pub fn stay_quiet(&mut self) {
        // A ring that is no longer in memory is found out by the next look.
        let _ = self.ring.stay_quiet();
    }

    /// Signalled by the guest.
    pub fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

/// Events to the guest.
///
/// All buffers that it offers are taken at once, so that the next one it offers is told apart from them: by
/// that it shows that it has taken note of an event.
pub(super) struct Events {
    rest: Rest,
    ring: SplitRing,
    memory: GuestRam,
    /// Offered and not used, the oldest first.
    buffers: VecDeque<(u16, u64)>,
}

impl Events {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(queue: LiveQueue, memory: GuestRam, negotiated: u64) -> Result<Events, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        let ring = SplitRing::new(ring, memory.clone(), negotiated)?;
        Ok(Events { rest, ring, memory, buffers: VecDeque::new() })
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(mut self) -> LiveQueue {
        self.ring.unpop(self.count());
        self.rest.with(self.ring.into_queue())
    }

    /// Takes what the guest offers, and asks it to kick when there is more; how many buffers there are.
    pub fn look(&mut self) -> Result<u16, GuestFault> {
        // A driver that offers a buffer twice has no more taken than its ring holds.
        while self.buffers.len() < usize::from(self.ring.size()) {
            let (mut at, mut len) = (0, 0u32);
            let popped = self.ring.pop(|buffer| {
                if !buffer.writable {
                    return Err(READABLE);
                }
                if len == 0 {
                    at = buffer.addr;
                }
                len = len.saturating_add(buffer.len);
                Ok(())
            })?;
            match popped {
                Some(_) if len < TRANSPORT_RESET.len() as u32 => return Err(SMALL_EVENT),
                Some(head) => self.buffers.push_back((head, at)),
                None if self.ring.arm()? => break,
                None => {}
            }
        }
        Ok(self.count())
    }

    /// How many buffers there are.
    pub fn count(&self) -> u16 {
        self.buffers.len() as u16 // no more than the ring is long
    }

    /// Tells the guest that its connections are gone; false if it has no buffer for that.
    pub fn put_reset(&mut self) -> Result<bool, GuestFault> {
        let Some((head, at)) = self.buffers.pop_front() else { return Ok(false) };
        let mut place = Scatter::growing(self.memory.clone());
        let pushed = place.push(at, TRANSPORT_RESET.len() as u32);
        pushed.map_err(|_| OUTSIDE_RAM)?;
        place.write_at(0, &TRANSPORT_RESET);
        self.ring.push(head, TRANSPORT_RESET.len() as u32)?;
        self.rest.interrupt(self.ring.publish()?);
        Ok(true)
    }

    /// Signalled by the guest.
    pub fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

//! Frames to the driver: a header and the frame over one buffer, or over as many as it takes
//! (virtio 1.2, 5.1.6.3 and 5.1.6.4).

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use device_core::scatter::{Scatter, ScatterError};
use net::backend::vnet_hdr;
use net::frame::RxFrame;
use net::ring::RxRing;

use super::features::{MRG_RXBUF, header_len};
use super::hash;
use super::tx::OUTSIDE_RAM;
use crate::device::{LiveQueue, Notice};
use crate::live::Rest;
use crate::ring::SplitRing;

const READABLE: GuestFault = GuestFault("a receive buffer has a part to read");
const TOO_SMALL: GuestFault = GuestFault("a receive buffer does not hold the header");
const TOO_MANY_PIECES: GuestFault = GuestFault("a receive buffer is in too many pieces");
const TOO_LITTLE: GuestFault = GuestFault("a frame is larger than its buffers");

/// A receive queue in work.
pub struct Rx {
    rest: Rest,
    ring: SplitRing,
    /// Whether a frame may take several chains.
    mergeable: bool,
    /// Bytes before each frame.
    header: usize,
    /// The buffers of `chains`, in order, for frames to come.
    room: Scatter,
    chains: VecDeque<Chain>,
    /// The next chain does not go beside the others.
    full: bool,
    notice: Arc<dyn Notice>,
}

struct Chain {
    head: u16,
    len: u32,
}

impl Rx {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        negotiated: u64,
        notice: Arc<dyn Notice>,
    ) -> Result<Rx, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        let ring = SplitRing::new(ring, memory.clone(), negotiated)?;
        Ok(Rx {
            rest,
            mergeable: negotiated & MRG_RXBUF != 0,
            header: header_len(negotiated),
            room: Scatter::new(memory),
            chains: VecDeque::with_capacity(ring.size().into()),
            ring,
            full: false,
            notice,
        })
    }

    /// Home again: buffers reserved and not used are offered anew by the same ring entries.
    pub fn into_queue(mut self) -> LiveQueue {
        self.ring.unpop(self.reserved());
        self.rest.with(self.ring.into_queue())
    }

    fn reserved(&self) -> u16 {
        self.chains.len() as u16 // at most the ring's size
    }

    /// Takes one more chain into the reservation; false if the guest has posted none, or if it has
    /// too many pieces to go beside the others.
    fn take_chain(&mut self) -> Result<bool, GuestFault> {
        let (before, room) = (self.room.len(), &mut self.room);
        let full = &mut self.full;
        let head = self.ring.pop(|buffer| {
            if !buffer.writable {
                return Err(READABLE);
            }
            match room.push(buffer.addr, buffer.len) {
                Ok(()) => Ok(()),
                Err(ScatterError::OutsideRam) => Err(OUTSIDE_RAM),
                Err(ScatterError::TooManyPieces) => {
                    *full = true;
                    Ok(())
                }
            }
        })?;
        let Some(head) = head else { return Ok(false) };
        if self.full {
            if self.chains.is_empty() {
                return Err(TOO_MANY_PIECES);
            }
            self.room.truncate(before);
            self.ring.unpop(1);
            return Ok(false);
        }
        let len = self.room.len().saturating_sub(before);
        if len < self.header {
            return Err(TOO_SMALL);
        }
        // The ring refuses chains of more than 2^32 bytes.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.chains.push_back(Chain { head, len });
        Ok(true)
    }

    /// Chains from the front that `bytes` bytes take; `None` if there are too few.
    fn chains_for(&self, bytes: usize) -> Option<u16> {
        let mut left = bytes;
        for (count, chain) in (1..).zip(&self.chains) {
            left = left.saturating_sub(chain.len as usize);
            if left == 0 {
                return Some(count);
            }
        }
        None
    }
}

impl RxRing for Rx {
    fn headroom(&self) -> usize {
        self.header
    }

    fn reserve(&mut self, want: usize) -> Result<&mut Scatter, GuestFault> {
        while self.room.len() < want && self.can_grow() {
            if !self.take_chain()? {
                break;
            }
        }
        Ok(&mut self.room)
    }

    fn can_grow(&self) -> bool {
        let most = if self.mergeable { self.ring.size() } else { 1 };
        !self.full && self.reserved() < most
    }

    fn deliver(&mut self, frame: &RxFrame) -> Result<(), GuestFault> {
        let mut left = frame.len.saturating_add(self.header);
        let count = self.chains_for(left).ok_or(TOO_LITTLE)?;
        self.full = false;
        let header = vnet_hdr::encode(&frame.meta, count);
        self.room.write_at(0, &header);
        if self.header > vnet_hdr::LEN {
            self.room.write_at(vnet_hdr::LEN, &hash::report(frame.meta.hash));
        }
        for chain in self.chains.drain(..usize::from(count)) {
            let written = chain.len.min(u32::try_from(left).unwrap_or(u32::MAX));
            left = left.saturating_sub(written as usize);
            self.room.advance(chain.len as usize);
            self.ring.push(chain.head, written)?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.rest.interrupt(self.ring.publish()?))
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.ring.arm()
    }

    fn broken(&mut self, _: GuestFault) {
        self.notice.needs_reset();
    }

    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

//! Frames from the driver: one chain each, a header and then the frame (virtio 1.2, 5.1.6.2).

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::kick::borrow;
use device_core::scatter::ScatterError;
use net::backend::vnet_hdr;
use net::frame::{Csum, FrameMeta, MAX_FRAME, MIN_FRAME, Offloads, TxFrame};
use net::ring::{Next, TxRing, TxToken};

use super::features;
use crate::device::{LiveQueue, Notice};
use crate::live::Rest;
use crate::ring::SplitRing;

const WRITABLE: GuestFault = GuestFault("a frame to send has a buffer to write");
pub(super) const OUTSIDE_RAM: GuestFault = GuestFault("a buffer is outside of RAM");

/// A transmit queue in work.
pub struct Tx {
    /// All of the live queue but its ring.
    rest: Rest,
    ring: SplitRing,
    /// Bytes of the header beyond those that are for a device.
    more: usize,
    offloads: Offloads,
    notice: Arc<dyn Notice>,
}

impl Tx {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        negotiated: u64,
        notice: Arc<dyn Notice>,
    ) -> Result<Tx, GuestFault> {
        let (rest, ring) = Rest::of(queue);
        let ring = SplitRing::new(ring, memory, negotiated)?;
        let more = features::header_len(negotiated).saturating_sub(vnet_hdr::LEN);
        Ok(Tx { rest, ring, more, offloads: features::host_offloads(negotiated), notice })
    }

    /// Gives the queue back, to go on later.
    pub fn into_queue(self) -> LiveQueue {
        self.rest.with(self.ring.into_queue())
    }

    /// What the header says, if the driver may say so (virtio 1.2, 5.1.6.2.1).
    fn meta(&self, header: &[u8; vnet_hdr::LEN], len: usize) -> Option<FrameMeta> {
        let mut meta = vnet_hdr::decode(header, len).ok()?;
        // Only a device may vouch for a checksum.
        if meta.csum == Csum::Valid {
            meta.csum = Csum::Unknown;
        }
        let unsummed = meta.gso.is_some() && meta.csum == Csum::Unknown;
        let allowed = self.offloads.contains(meta.needs());
        (allowed && !unsummed).then_some(meta)
    }
}

impl TxRing for Tx {
    fn next(&mut self, frame: &mut TxFrame) -> Result<Next, GuestFault> {
        frame.clear();
        let mut too_many_pieces = false;
        let head = self.ring.pop(|buffer| {
            if buffer.writable {
                return Err(WRITABLE);
            }
            match frame.body.push(buffer.addr, buffer.len) {
                Ok(()) => {}
                Err(ScatterError::OutsideRam) => return Err(OUTSIDE_RAM),
                Err(ScatterError::TooManyPieces) => too_many_pieces = true,
            }
            Ok(())
        })?;
        let Some(token) = head.map(TxToken) else { return Ok(Next::Empty) };
        let mut header = [0; vnet_hdr::LEN];
        let whole = frame.body.pull(&mut header) && !too_many_pieces;
        let whole = whole && frame.body.len() >= self.more;
        frame.body.advance(self.more);
        if !whole || !(MIN_FRAME..=MAX_FRAME).contains(&frame.body.len()) {
            return Ok(Next::Malformed(token));
        }
        let Some(meta) = self.meta(&header, frame.body.len()) else {
            return Ok(Next::Malformed(token));
        };
        frame.meta = meta;
        frame.pull_head();
        Ok(Next::Frame(token))
    }

    fn put_back(&mut self, _: TxToken) {
        self.ring.unpop(1);
    }

    fn complete(&mut self, token: TxToken) -> Result<(), GuestFault> {
        self.ring.push(token.0, 0)
    }

    fn publish(&mut self) -> Result<bool, GuestFault> {
        Ok(self.rest.interrupt(self.ring.publish()?))
    }

    fn may_sleep(&mut self) -> Result<bool, GuestFault> {
        self.ring.arm()
    }

    fn stay_quiet(&mut self) {
        // A ring that is no longer in memory is found out by the next look.
        let _ = self.ring.stay_quiet();
    }

    fn broken(&mut self, _: GuestFault) {
        self.notice.needs_reset();
    }

    fn kick(&self) -> BorrowedFd<'_> {
        borrow(&self.rest.kick)
    }
}

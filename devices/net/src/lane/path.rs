//! What frames meet on their way, out and in: the stages, the backend's queue, and who looks on.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::linger::Moved;

use crate::backend::{NetQueue, QueueError, Room};
use crate::capture::Tee;
use crate::frame::{Offloads, RxFrame, TxFrame};
use crate::link::Link;
use crate::mac::MacAddr;
use crate::neighbour::Neighbours;
use crate::pipeline::{LaneCounters, Origin, Pipeline};
use crate::ring::{RxRing, TxRing};
use crate::service::Service;
use crate::stage::delay::{Stopwatch, show_received, show_sent};
use crate::stage::filter::ReceiveFilter;
use crate::stage::rewrite::Rewrite;
use device_core::fault::GuestFault;
use device_core::scatter::Scatter;

/// What both directions of a lane share.
pub struct Path {
    /// The lane's.
    pub(super) index: u16,
    pub(super) queue: Box<dyn NetQueue>,
    pub(super) link: Arc<Link>,
    pub(crate) pipeline: Pipeline,
    /// Copies frames for a capture, if there is one.
    pub(crate) tee: Option<Box<Tee>>,
    /// Measures how long frames take, if that is wanted.
    pub(super) watch: Option<Box<Stopwatch>>,
    /// Takes frames for an end point in the VMM, if there is one.
    pub(super) service: Option<Box<Service>>,
    /// Gives the guest other addresses on the wire, if it is to have such.
    pub(crate) rewrite: Option<Rewrite>,
    /// What the guest's addresses are.
    pub(crate) neighbours: Neighbours,
    log: LogLimit,
    moved: Moved,
    /// Frames that the backend has taken and that were not counted yet, and their bytes.
    taken: (u64, u64),
}

impl Path {
    pub(super) fn new(
        index: u16,
        queue: Box<dyn NetQueue>,
        link: Arc<Link>,
        counters: Arc<LaneCounters>,
    ) -> Path {
        let pipeline = Pipeline {
            counters,
            accepted: Offloads::empty(),
            mtu: usize::MAX,
            filter: ReceiveFilter::promiscuous(MacAddr([0; 6])),
            hasher: None,
            hits: None,
            limiter: Arc::default(),
            tracked: None,
        };
        Path {
            index,
            queue,
            link,
            pipeline,
            tee: None,
            watch: None,
            service: None,
            rewrite: None,
            neighbours: Neighbours::default(),
            log: LogLimit::default(),
            moved: Moved::default(),
            taken: (0, 0),
        }
    }

    /// Which way frames went since this was asked last.
    pub(super) fn moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn counters(&self) -> &LaneCounters {
        &self.pipeline.counters
    }

    /// Whether a frame of the guest stays in the VMM: it is the service's, which has it now.
    #[inline]
    pub(super) fn serves(&mut self, frame: &TxFrame, now: Instant) -> bool {
        let served = self.service.as_mut().is_some_and(|service| service.takes(frame, now));
        if served && let Some(tee) = &mut self.tee {
            tee.sent(frame);
        }
        served
    }

    /// Whether the service has frames for the guest.
    #[inline]
    pub(super) fn has_served(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.has_frames())
    }

    /// Receives a frame, of the service before any of the backend.
    #[inline]
    pub(super) fn recv(
        &mut self,
        room: Room<'_>,
        frame: &mut RxFrame,
        now: Instant,
    ) -> Result<Origin, QueueError> {
        match &mut self.service {
            Some(service) if service.has_frames() => {
                service.recv(room, frame, now).ok_or(QueueError::NotReady)?;
                Ok(Origin::Service)
            }
            _ => {
                self.queue.recv(room, frame)?;
                if let Some(rewrite) = &self.rewrite {
                    rewrite.swap(frame.head.bytes_mut(), frame.meta.csum);
                }
                Ok(Origin::Backend)
            }
        }
    }

    /// Offers a frame of the guest to the backend, from the guest's outside address if it has one.
    #[inline]
    pub(super) fn send(&mut self, frame: &mut TxFrame) -> Result<(), QueueError> {
        self.neighbours.see(frame.head.bytes());
        if let Some(rewrite) = &self.rewrite {
            rewrite.swap(frame.head.bytes_mut(), frame.meta.csum);
        }
        self.queue.send(frame)
    }

    /// Whether a received frame goes on to the guest ([`Pipeline::admit`]).
    #[inline]
    pub(super) fn admit(
        &self,
        frame: &mut RxFrame,
        origin: Origin,
        now: Instant,
        headers_wanted: bool,
    ) -> bool {
        if origin == Origin::Backend
            && let Some(service) = &self.service
            && service.is_impostor(frame)
        {
            self.counters().rx_refused.add(1);
            return false;
        }
        self.pipeline.admit(frame, origin, now, headers_wanted)
    }

    /// Tells the network where the guest is that has these addresses, as far as the backend lets it.
    pub(super) fn announce(&mut self, frames: &[Vec<u8>], frame: &mut TxFrame) {
        for bytes in frames {
            frame.clear();
            frame.head.set(bytes);
            if let Some(rewrite) = &self.rewrite {
                rewrite.swap(frame.head.bytes_mut(), frame.meta.csum);
            }
            let sent = self.queue.send(frame);
            if let Err(error) = sent.and_then(|()| self.queue.flush().error.map_or(Ok(()), Err)) {
                tracing::warn!("lane {}: an address is not announced: {error}", self.index);
            }
        }
        frame.clear();
    }

    /// The backend has taken a frame.
    #[inline]
    pub(super) fn sent(&mut self, frame: &mut TxFrame, now: Instant) {
        self.moved.out = true;
        let (frames, bytes) = self.taken;
        self.taken = (frames.wrapping_add(1), bytes.wrapping_add(frame.len() as u64));
        self.pipeline.sent(frame, now);
        if let Some(tee) = &mut self.tee {
            // As the guest sent it.
            if let Some(rewrite) = &self.rewrite {
                rewrite.swap(frame.head.bytes_mut(), frame.meta.csum);
            }
            tee.sent(frame);
        }
        if let Some(watch) = &mut self.watch {
            watch.sent();
        }
    }

    /// Sends what the backend has kept, so that the guest may have its memory back, and counts.
    #[inline]
    pub(super) fn flush(&mut self) {
        let (frames, bytes) = std::mem::take(&mut self.taken);
        if frames == 0 {
            return;
        }
        let refused = self.queue.flush();
        let counters = &*self.pipeline.counters;
        counters.tx_frames.add(frames.saturating_sub(refused.frames));
        counters.tx_bytes.add(bytes.saturating_sub(refused.bytes));
        if let Some(error) = refused.error {
            self.not_sent(&error, refused.frames);
        }
    }

    /// Counts and tells of frames that the backend did not send.
    pub(super) fn not_sent(&self, error: &QueueError, frames: u64) {
        let counters = self.counters();
        match error {
            QueueError::NotReady => counters.tx_blocked.add(frames),
            QueueError::Refused(error) => {
                counters.tx_refused.add(frames);
                self.warn("frame not sent", error);
            }
            QueueError::Transient(error) => {
                counters.tx_refused.add(frames);
                counters.backend_errors.add(frames);
                self.warn("frame not sent", error);
            }
            QueueError::Gone(error) => {
                counters.tx_refused.add(frames);
                self.lose(error);
            }
        }
    }

    /// Shows finished frames to the guest.
    #[inline]
    pub(super) fn show_sent<T: TxRing>(&mut self, ring: &mut T) -> Result<(), GuestFault> {
        self.flush();
        let interrupted = show_sent(&mut self.watch, ring)?;
        self.counters().interrupts.add(interrupted.into());
        Ok(())
    }

    /// Puts a received frame's head before the rest of it, which is in the guest's buffers already,
    /// behind `headroom` bytes of them.
    #[inline]
    pub(super) fn complete(&mut self, frame: &RxFrame, room: &Scatter, headroom: usize) {
        room.write_at(headroom, frame.head.bytes());
        if let Some(tee) = &mut self.tee {
            tee.received(frame, room, headroom);
        }
    }

    /// The ring has taken a frame.
    #[inline]
    pub(super) fn delivered(&mut self, frame: &RxFrame, now: Instant) {
        self.moved.into = self.moved.into.wrapping_add(1);
        self.pipeline.delivered(frame, now);
        if let Some(watch) = &mut self.watch {
            watch.received();
        }
    }

    /// Shows delivered frames to the guest.
    #[inline]
    pub(super) fn show_received<R: RxRing>(&mut self, ring: &mut R) -> Result<(), GuestFault> {
        self.pipeline.counters.rx_overflow.add(self.queue.lost());
        let interrupted = show_received(&mut self.watch, ring)?;
        self.counters().interrupts.add(interrupted.into());
        Ok(())
    }

    /// Logs what went wrong; a guest can cause it at will.
    pub(super) fn warn(&self, what: &str, why: &dyn Display) {
        guest_warn!(self.log, "lane {}: {what}: {why}", self.index);
    }

    /// The guest broke one of its rings.
    pub(super) fn ring_broken(&self, which: &str, fault: GuestFault) {
        self.counters().guest_faults.add(1);
        guest_warn!(self.log, "lane {}: {which} ring given up: {fault}", self.index);
    }

    /// The backend is gone for good.
    pub(super) fn lose(&self, error: &io::Error) {
        self.counters().backend_errors.add(1);
        self.link.lose(error);
    }
}

#[cfg(test)]
#[path = "path_test.rs"]
mod tests;

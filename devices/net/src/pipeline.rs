//! What happens to each frame of a lane, in order: on receive, offloads the guest can take, its
//! MTU, its filter, connections, the hash; on both ways, limits are charged and statistics kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::counters;

use crate::frame::{Csum, MIN_FRAME, Offloads, RxFrame, TxFrame};
use crate::rss::Hasher;
use crate::rss::hits::Hits;
use crate::stage::filter::ReceiveFilter;
use crate::stage::limiter::{Limiter, Wait, Way};
use crate::stage::tracking::Table;
use crate::wire::ethernet::Link;
use crate::wire::layers::Layers;

counters! {
    /// What one lane has done since its machine was built.
    pub struct LaneCounters {
        /// Frames that the backend took.
        tx_frames,
        /// Their bytes, Ethernet headers included.
        tx_bytes,
        /// Frames of the guest that make no sense.
        tx_malformed,
        /// Frames the backend refused.
        tx_refused,
        /// Frames given up after the backend had no room for too long.
        tx_blocked,
        /// Frames given up after a limit made them wait for too long.
        tx_throttled,
        /// Frames of connections beyond those allowed.
        tx_untracked,
        /// Frames sent while the cable was pulled out.
        tx_no_link,
        /// Frames that the guest got.
        rx_frames,
        /// Their bytes, Ethernet headers included.
        rx_bytes,
        /// Times that frames had to wait for buffers.
        rx_no_buffers,
        /// Frames larger than the guest's buffers can ever hold, or held for too long.
        rx_too_large,
        /// Frames with an offload that the guest cannot take, too short, or that pretend to be of the
        /// metadata service.
        rx_refused,
        /// Frames for a lane that the guest gave no ring.
        rx_no_ring,
        /// Frames that the backend had no room for, if it tells.
        rx_overflow,
        /// Frames the guest's driver does not want.
        rx_filtered,
        /// Frames of connections beyond those allowed.
        rx_untracked,
        /// Frames received while the cable was pulled out.
        rx_no_link,
        /// Calls that the backend failed, other than by refusing a frame.
        backend_errors,
        /// Interrupts sent to the guest.
        interrupts,
        /// Rings given up since the guest broke their format.
        guest_faults,
    }
}

/// Where a received frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The host's side of the cable.
    Backend,
    /// The service in the VMM, whose connections are not the host's.
    Service,
}

/// The stages of one lane.
pub struct Pipeline {
    /// What the lane has done.
    pub counters: Arc<LaneCounters>,
    /// What the guest can take in received frames.
    pub accepted: Offloads,
    /// Which frames the guest wants.
    pub filter: ReceiveFilter,
    /// Most bytes behind the Ethernet header and its tags that the guest wants; cards whose driver
    /// cannot say so have no limit.
    pub mtu: usize,
    /// Finds the hash of each received frame, if the guest is to be told.
    pub hasher: Option<Arc<Hasher>>,
    /// Counts which buckets of the guest's table it leads to.
    pub hits: Option<Arc<Hits>>,
    /// Shared by the card's lanes.
    pub limiter: Arc<Limiter>,
    /// The limiter's connections, if they are limited.
    pub tracked: Option<Arc<Table>>,
}

impl Pipeline {
    /// Whether a received frame goes on to the guest. May clear what the guest cannot understand.
    /// Finds the frame's headers if that is wanted, or needed for its hash.
    #[inline]
    pub fn admit(
        &self,
        frame: &mut RxFrame,
        origin: Origin,
        now: Instant,
        headers_wanted: bool,
    ) -> bool {
        let needs = frame.meta.needs();
        // One version of UDP segmentation is never had without the other.
        if !self.accepted.contains(needs) || frame.len < MIN_FRAME {
            self.counters.rx_refused.add(1);
            return false;
        }
        if frame.meta.csum == Csum::Valid && !self.accepted.contains(Offloads::CSUM) {
            frame.meta.csum = Csum::Unknown;
        }
        // Those still to be cut are judged by their pieces.
        if frame.meta.gso.is_none() && !self.fits(frame.len, frame.head.bytes()) {
            return false;
        }
        if !self.filter.passes(frame.head.bytes()) {
            self.counters.rx_filtered.add(1);
            return false;
        }
        if origin == Origin::Backend && !self.tracks(Way::In, frame.head.bytes(), now) {
            return false;
        }
        if headers_wanted || self.hasher.is_some() {
            frame.findings.layers = Layers::of(frame.head.bytes());
        }
        let RxFrame { head, findings, .. } = &*frame;
        let hasher = self.hasher.as_ref();
        frame.meta.hash = hasher.and_then(|all| all.hash_found(head.bytes(), &findings.layers));
        true
    }

    /// Whether a frame of this length and with these tags may go on to the guest.
    #[inline]
    pub fn fits(&self, len: usize, head: &[u8]) -> bool {
        if len <= self.mtu {
            return true;
        }
        let headers = Link::of(head).map_or(MIN_FRAME, |link| link.payload_at);
        let fits = len <= self.mtu.saturating_add(headers);
        if !fits {
            self.counters.rx_too_large.add(1);
        }
        fits
    }

    /// Whether a frame may go on to the wire, as far as connections are limited.
    pub fn tracks(&self, way: Way, head: &[u8], now: Instant) -> bool {
        let Some(table) = &self.tracked else { return true };
        let admitted = table.admits(head, self.limiter.seconds(now));
        if !admitted {
            match way {
                Way::In => self.counters.rx_untracked.add(1),
                Way::Out => self.counters.tx_untracked.add(1),
            }
        }
        admitted
    }

    /// A frame has gone to the backend: charges its limits.
    #[inline]
    pub fn sent(&self, frame: &TxFrame, now: Instant) {
        self.limiter.charge(Way::Out, &frame.meta, frame.len(), now);
    }

    /// A frame has gone to the guest: charges its limits and counts it.
    pub fn delivered(&self, frame: &RxFrame, now: Instant) {
        if let Some(hits) = &self.hits {
            hits.count(frame.meta.hash);
        }
        self.limiter.charge(Way::In, &frame.meta, frame.len, now);
        self.counters.rx_frames.add(1);
        self.counters.rx_bytes.add(frame.len as u64);
    }
}

/// A limit holds frames back for at least so long; what may go in the meantime goes then.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Frames of one direction that a limit holds back.
#[derive(Default)]
pub struct Throttle(Option<(Instant, Wait)>);

impl Throttle {
    /// Until when nothing needs to be tried.
    pub fn until(&self) -> Option<Instant> {
        self.0.map(|(_, wait)| wait.until)
    }

    /// Since when the next frame waits.
    pub fn since(&self) -> Option<Instant> {
        self.0.map(|(since, _)| since)
    }

    /// Asks for the next frame; it is counted when it has to wait for the first time. `Err` says until
    /// when it has to wait.
    pub fn ask(&mut self, limiter: &Limiter, way: Way, now: Instant) -> Result<(), Instant> {
        let Err(mut wait) = limiter.ask(way, now) else {
            return Ok(());
        };
        if self.0.is_none() {
            limiter.exceeded(way, &wait);
        }
        // A turn for each frame would cost more than it is worth.
        let soonest = now.checked_add(SHORTEST_WAIT).unwrap_or(now);
        wait.until = wait.until.max(soonest);
        self.0 = Some((self.since().unwrap_or(now), wait));
        Err(wait.until)
    }

    /// The frame is gone, or limits have changed.
    pub fn lift(&mut self) {
        self.0 = None;
    }
}

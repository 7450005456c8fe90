//! What happens to each frame of a lane, in order: on receive, offloads the guest can take, then
//! the receive filter; on both ways, statistics.

use std::sync::Arc;

use device_core::counters;

use crate::frame::{Csum, MIN_FRAME, Offloads, RxFrame, TxFrame};
use crate::rss::Hasher;
use crate::stage::filter::ReceiveFilter;

counters! {
    /// What one lane has done since its machine was built.
    pub struct LaneCounters {
        tx_frames,
        tx_bytes,
        /// Frames of the guest that make no sense.
        tx_malformed,
        /// Frames the backend refused.
        tx_refused,
        /// Frames given up after the backend had no room for too long.
        tx_blocked,
        rx_frames,
        rx_bytes,
        /// Times that frames had to wait in the backend for buffers.
        rx_no_buffers,
        /// Frames larger than the guest's buffers can ever hold, or held for too long.
        rx_too_large,
        /// Frames with an offload that the guest cannot take, or too short.
        rx_refused,
        /// Frames for a lane that the guest gave no ring.
        rx_no_ring,
        /// Frames the guest's driver does not want.
        rx_filtered,
        backend_errors,
        interrupts,
        guest_faults,
    }
}

/// The stages of one lane.
pub struct Pipeline {
    pub counters: Arc<LaneCounters>,
    /// What the guest can take in received frames.
    pub accepted: Offloads,
    pub filter: ReceiveFilter,
    /// Finds the hash of each received frame, if the guest is to be told.
    pub hasher: Option<Arc<Hasher>>,
}

impl Pipeline {
    /// Whether a received frame goes on to the guest. May clear what the guest cannot understand.
    pub fn admit(&self, frame: &mut RxFrame) -> bool {
        let needs = frame.meta.needs();
        // One version of UDP segmentation is never had without the other.
        if !self.accepted.contains(needs) || frame.len < MIN_FRAME {
            self.counters.rx_refused.add(1);
            return false;
        }
        if frame.meta.csum == Csum::Valid && !self.accepted.contains(Offloads::CSUM) {
            frame.meta.csum = Csum::Unknown;
        }
        if !self.filter.passes(frame.head.bytes()) {
            self.counters.rx_filtered.add(1);
            return false;
        }
        frame.meta.hash = self.hasher.as_ref().and_then(|hasher| hasher.hash(frame.head.bytes()));
        true
    }

    pub fn sent(&self, frame: &TxFrame) {
        self.counters.tx_frames.add(1);
        self.counters.tx_bytes.add(frame.len() as u64);
    }

    pub fn delivered(&self, len: usize) {
        self.counters.rx_frames.add(1);
        self.counters.rx_bytes.add(len as u64);
    }
}

//! Frames from the guest: out of the transmit ring, through the limits, into the backend's queue.

use std::time::Instant;

use device_core::GuestRam;

use super::burst::{BUDGET, Burst};
use super::path::Path;
use super::progress::{Progress, patience_ends};
use crate::backend::QueueError;
use crate::frame::TxFrame;
use crate::pipeline::Throttle;
use crate::ring::{Next, TxRing};
use crate::stage::limiter::Way;
use device_core::fault::GuestFault;

/// A lane's transmit side, whatever ring is plugged in.
pub struct Outgoing {
    frame: TxFrame,
    /// Since when the backend has had no room, and whether that may have changed.
    blocked_since: Option<Instant>,
    writable: bool,
    throttle: Throttle,
}

/// What became of a frame.
enum Fate {
    /// The backend took it, or refused it.
    Tried,
    /// The backend never saw it, and never will.
    Dropped,
    /// It stays in the ring, for a try at that time.
    Kept(Instant),
}

impl Outgoing {
    pub(super) fn new(memory: GuestRam) -> Outgoing {
        Outgoing {
            frame: TxFrame::new(memory),
            blocked_since: None,
            writable: true,
            throttle: Throttle::default(),
        }
    }

    /// The backend may have room.
    pub(super) fn may_write(&mut self) {
        self.writable = true;
    }

    /// Sends frames of our own, by which the network hears of the guest's addresses.
    pub(super) fn announce(&mut self, frames: &[Vec<u8>], path: &mut Path) {
        if !path.link.is_pulled() {
            path.announce(frames, &mut self.frame);
        }
    }

    /// Limits have changed.
    pub(super) fn limits_changed(&mut self) {
        self.throttle.lift();
    }

    /// The ring was taken out; the next one's frames have patience of their own.
    pub(super) fn unplugged(&mut self) {
        self.blocked_since = None;
        self.throttle.lift();
    }

    /// One turn: sends frames until there are no more, one has to wait, or the turn is over. If the lane
    /// lingers the guest is not asked to kick.
    pub(super) fn transmit<T: TxRing>(
        &mut self,
        ring: &mut T,
        path: &mut Path,
        now: Instant,
        lingers: bool,
    ) -> Result<Progress, GuestFault> {
        if let Some(until) = self.waits_until(now) {
            return Ok(Progress::Wait(until));
        }
        if let Some(watch) = &mut path.watch {
            watch.tx_begins(now, self.blocked_since.or(self.throttle.since()));
        }
        let pulled = path.link.is_pulled();
        let mut burst = Burst::outgoing();
        for _ in 0..BUDGET {
            let token = match ring.next(&mut self.frame)? {
                Next::Frame(token) => token,
                Next::Malformed(token) => {
                    path.counters().tx_malformed.add(1);
                    ring.complete(token)?;
                    continue;
                }
                Next::Empty => {
                    path.show_sent(ring)?;
                    let ends = lingers || ring.may_sleep()?;
                    return Ok(if ends { Progress::Idle } else { Progress::More });
                }
            };
            match self.pass(path, pulled, now) {
                Fate::Tried => {
                    ring.complete(token)?;
                    if burst.ends_with(self.frame.len()) {
                        path.show_sent(ring)?;
                    }
                    if burst.is_turn_spent() {
                        break;
                    }
                }
                Fate::Dropped => ring.complete(token)?,
                Fate::Kept(until) => {
                    ring.put_back(token);
                    path.show_sent(ring)?;
                    return Ok(Progress::Wait(until));
                }
            }
        }
        path.show_sent(ring)?;
        Ok(Progress::More)
    }

    /// The next frame is still not worth a try, and when it will be.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        if let Some(since) = self.blocked_since
            && !self.writable
            && now < patience_ends(since)
        {
            return Some(patience_ends(since));
        }
        let until = self.throttle.until().filter(|until| now < *until)?;
        let since = self.throttle.since().filter(|since| now < patience_ends(*since))?;
        Some(until.min(patience_ends(since)))
    }

    /// Brings a frame past the cable and the limits to the backend.
    #[inline]
    fn pass(&mut self, path: &mut Path, pulled: bool, now: Instant) -> Fate {
        if pulled {
            path.counters().tx_no_link.add(1);
            return Fate::Dropped;
        }
        // Before the limits, which are the host network's.
        if path.serves(&self.frame, now) {
            return Fate::Dropped;
        }
        if let Err(until) = self.throttle.ask(&path.pipeline.limiter, Way::Out, now) {
            let given_up_at = patience_ends(self.throttle.since().unwrap_or(now));
            if now < given_up_at {
                return Fate::Kept(until.min(given_up_at));
            }
            path.counters().tx_throttled.add(1);
            self.throttle.lift();
            return Fate::Dropped;
        }
        self.throttle.lift();
        if !path.pipeline.tracks(Way::Out, self.frame.head.bytes(), now) {
            return Fate::Dropped;
        }
        match path.send(&mut self.frame) {
            Ok(()) => {
                self.blocked_since = None;
                path.sent(&mut self.frame, now);
                Fate::Tried
            }
            Err(error) => self.not_sent(error, path, now),
        }
    }

    fn not_sent(&mut self, error: QueueError, path: &Path, now: Instant) -> Fate {
        if matches!(error, QueueError::NotReady) {
            self.writable = false;
            let given_up_at = patience_ends(*self.blocked_since.get_or_insert(now));
            if now < given_up_at {
                return Fate::Kept(given_up_at);
            }
            // Until there is room again frames are lost rather than kept: the guest must get its buffers
            // back.
        }
        path.not_sent(&error, 1);
        Fate::Tried
    }
}

#[cfg(test)]
#[path = "outgoing_test.rs"]
mod tests;

//! Frames to the guest: from the backend's queue, as buffers and limits allow, into the receive
//! ring.
//!
//! ```text
//! NetQueue::recv ──► buffers ── finish ── RxRing::deliver
//!            └─────► spill ──── hold, cut ──┘
//! ```
//! What does not fit into the guest's buffers waits in the spill until there are more of them; a
//! frame that is cut lies there too, and each of its pieces is one that waits.

use std::ops::Range;
use std::time::{Duration, Instant};

use device_core::GuestRam;

use super::burst::{BUDGET, Burst};
use super::path::Path;
use super::progress::{Progress, patience_ends};
use crate::backend::{QueueError, Room};
use crate::frame::{HEAD, MAX_FRAME, RxFrame};
use crate::pipeline::{Origin, Throttle};
use crate::ring::RxRing;
use crate::stage::finish::{Body, CHUNK, finish};
use crate::stage::limiter::Way;
use crate::stage::segment::Segments;
use device_core::fault::GuestFault;
use device_core::scatter::Scatter;

/// First and longest pause after an error of the backend that may pass.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Room to offer while frames are ordinary; for larger ones room for the largest.
const ORDINARY: usize = 2048;
/// Ordinary frames in a row after which large ones are no longer expected.
const CALM: u32 = 64;

/// A lane's receive side, whatever ring is plugged in.
pub struct Incoming {
    frame: RxFrame,
    /// The backend may have frames.
    readable: bool,
    /// It spoke of an error: it must be asked, buffers or not.
    suspect: bool,
    /// What had no room in the guest's buffers, each byte at its place in the frame.
    spill: Box<[u8]>,
    chunk: Box<[u8; CHUNK]>,
    held: Option<Held>,
    /// Frames wait for buffers, and that was counted.
    starved: bool,
    /// The frame in the spill is delivered in pieces.
    cut: Option<Segments>,
    want: Want,
    pause: Option<Pause>,
    throttle: Throttle,
    /// Frames without a ring for them are thrown away.
    drain: bool,
    /// No room for anything, for frames that are thrown away.
    nowhere: Option<Scatter>,
}

/// A received frame that is not all in the guest's buffers: it is in `Incoming::frame`, its last
/// bytes in the spill.
struct Held {
    since: Instant,
    /// Where in the frame those bytes begin, and where they are in the spill.
    at: usize,
    spilled: Range<usize>,
}

/// No reading until then, since the backend failed.
struct Pause {
    until: Instant,
    length: Duration,
}

/// How much room the next frame will want, guessed from the last ones: each buffer offered costs
/// time, and what does not fit is copied once more.
#[derive(Default)]
struct Want {
    /// Ordinary frames still to come before large ones are no longer expected.
    calm_in: u32,
}

/// What is the same for all frames of a turn.
struct Turn {
    now: Instant,
    /// Bytes of the guest's buffers before the frame.
    headroom: usize,
}

/// What comes next in a turn.
enum Step {
    /// The frame is in the guest's buffers, for the ring to take.
    Deliver,
    /// On to the next frame, or another try at this one.
    Next,
    /// Nothing goes without more buffers, and then the turn ends like this.
    NoBuffers(Progress),
    /// The turn ends.
    End(Progress),
}

impl Incoming {
    pub(super) fn new() -> Incoming {
        Incoming {
            frame: RxFrame::default(),
            readable: true,
            suspect: false,
            // Zeroed by the system when touched first, which a lane of small frames never does.
            spill: vec![0; MAX_FRAME].into(),
            chunk: Box::new([0; CHUNK]),
            held: None,
            starved: false,
            cut: None,
            want: Want::default(),
            pause: None,
            throttle: Throttle::default(),
            drain: false,
            nowhere: None,
        }
    }

    /// The backend may have frames.
    pub(super) fn may_read(&mut self) {
        self.readable = true;
    }

    /// The backend spoke of an error.
    pub(super) fn suspect(&mut self) {
        self.suspect = true;
    }

    /// Limits have changed.
    pub(super) fn limits_changed(&mut self) {
        self.throttle.lift();
    }

    /// Whether frames that find no ring are thrown away.
    pub(super) fn drain(&mut self, on: bool) {
        self.drain = on;
    }

    /// Frames may be thrown away from now on.
    pub(super) fn need_nowhere(&mut self, memory: GuestRam) {
        self.nowhere.get_or_insert_with(|| Scatter::new(memory));
    }

    /// The ring was taken out: a frame that waited for more of its buffers is lost. Whether there
    /// was one.
    pub(super) fn unplugged(&mut self) -> bool {
        self.throttle.lift();
        self.forget_frame()
    }

    /// Whether there was one that waited.
    pub(super) fn forget_frame(&mut self) -> bool {
        let cut = self.cut.take().is_some();
        self.held.take().is_some() || cut
    }

    /// One turn: receives frames until there are no more, one has to wait, or the turn is over.
    pub(super) fn receive<R: RxRing>(
        &mut self,
        ring: &mut R,
        path: &mut Path,
        now: Instant,
    ) -> Result<Progress, GuestFault> {
        if !path.has_served()
            && let Some(progress) = self.rests(now)
        {
            return Ok(progress);
        }
        if let Some(watch) = &mut path.watch {
            watch.rx_begins();
        }
        let turn = Turn { now, headroom: ring.headroom() };
        let mut burst = Burst::incoming();
        for _ in 0..BUDGET {
            match self.step(ring, path, &turn)? {
                Step::Deliver => {
                    ring.deliver(&self.frame)?;
                    path.delivered(&self.frame, now);
                    self.held = None;
                    if burst.ends_with(self.frame.len) {
                        path.show_received(ring)?;
                    }
                    if burst.is_turn_spent() {
                        break;
                    }
                }
                Step::Next => {}
                Step::NoBuffers(progress) => {
                    path.show_received(ring)?;
                    if ring.may_sleep()? {
                        self.count_starving(path);
                        return Ok(progress);
                    }
                }
                Step::End(progress) => {
                    path.show_received(ring)?;
                    return Ok(progress);
                }
            }
        }
        path.show_received(ring)?;
        Ok(Progress::More)
    }

    /// How the turn ends before it begins, if there is nothing to do.
    fn rests(&self, now: Instant) -> Option<Progress> {
        if self.held.is_none() && self.cut.is_none() && !self.readable {
            return Some(Progress::Idle);
        }
        let pause = self.pause.as_ref().filter(|pause| now < pause.until)?;
        Some(Progress::Wait(pause.until))
    }

    /// Goes on with the frame that waits, if there is one, or else reads the next.
    #[inline]
    fn step<R: RxRing>(
        &mut self,
        ring: &mut R,
        path: &mut Path,
        turn: &Turn,
    ) -> Result<Step, GuestFault> {
        if self.held.is_none() {
            self.hold_next_piece(turn.now);
        }
        if self.held.is_some() {
            self.fill_up(ring, path, turn)
        } else {
            self.read(ring, path, turn)
        }
    }

    /// Of a frame that is being cut: its next piece is one that waits.
    #[inline]
    fn hold_next_piece(&mut self, now: Instant) {
        let Some(segments) = &mut self.cut else { return };
        match segments.next(&self.spill, &mut self.frame) {
            Some(spilled) => {
                let at = self.frame.head.bytes().len();
                self.held = Some(Held { since: now, at, spilled });
            }
            None => self.cut = None,
        }
    }

    /// Brings the rest of the frame that waits to the guest's buffers, if there are enough now.
    fn fill_up<R: RxRing>(
        &mut self,
        ring: &mut R,
        path: &mut Path,
        turn: &Turn,
    ) -> Result<Step, GuestFault> {
        let Some(held) = &self.held else { return Ok(Step::Next) };
        let need = turn.headroom.saturating_add(self.frame.len);
        let room = ring.reserve(need)?;
        if room.len() >= need {
            self.starved = false;
            let rest = self.spill.get(held.spilled.clone()).unwrap_or_default();
            room.write_at(turn.headroom.saturating_add(held.at), rest);
            path.complete(&self.frame, room, turn.headroom);
            return Ok(Step::Deliver);
        }
        let given_up_at = patience_ends(held.since);
        if !ring.can_grow() || turn.now >= given_up_at {
            path.counters().rx_too_large.add(1);
            self.forget_frame();
            return Ok(Step::Next);
        }
        Ok(Step::NoBuffers(Progress::Wait(given_up_at)))
    }

    /// Reads a frame from the backend into the buffers that the guest has posted.
    #[inline]
    fn read<R: RxRing>(
        &mut self,
        ring: &mut R,
        path: &mut Path,
        turn: &Turn,
    ) -> Result<Step, GuestFault> {
        let room = ring.reserve(self.want.bytes())?;
        if room.is_empty() && !self.suspect {
            // The frame stays in the backend, and the kick of the refill wakes the lane.
            return Ok(Step::NoBuffers(Progress::Idle));
        }
        let served = path.has_served();
        if !served && let Some(progress) = self.rests(turn.now) {
            return Ok(Step::End(progress));
        }
        if (self.readable || served)
            && let Err(until) = self.throttle.ask(&path.pipeline.limiter, Way::In, turn.now)
        {
            return Ok(Step::End(Progress::Wait(until)));
        }
        self.suspect = false;
        self.throttle.lift();
        self.starved = false;
        let spill = self.spill.get_mut(turn.spilled_at(room)..).unwrap_or_default();
        let to = Room { buffers: room, skip: turn.skip(), spill };
        Ok(match path.recv(to, &mut self.frame, turn.now) {
            Ok(origin) => {
                if origin == Origin::Backend {
                    self.pause = None;
                }
                self.sort_in::<R>(room, path, origin, turn)
            }
            Err(error) => self.not_received(error, path, turn.now),
        })
    }

    fn not_received(&mut self, error: QueueError, path: &Path, now: Instant) -> Step {
        match error {
            QueueError::NotReady => {
                self.readable = false;
                self.pause = None;
                Step::End(Progress::Idle)
            }
            QueueError::Refused(error) => {
                path.counters().rx_refused.add(1);
                path.warn("frame not received", &error);
                Step::Next
            }
            QueueError::Transient(error) => {
                path.counters().backend_errors.add(1);
                path.warn("cannot receive", &error);
                let next = Pause::after(self.pause.as_ref(), now);
                Step::End(Progress::Wait(self.pause.insert(next).until))
            }
            QueueError::Gone(error) => {
                self.readable = false;
                path.lose(&error);
                Step::End(Progress::Idle)
            }
        }
    }

    /// What becomes of a frame just read: it is dropped, cut, held, or complete in its buffers.
    #[inline]
    fn sort_in<R: RxRing>(
        &mut self,
        room: &Scatter,
        path: &mut Path,
        origin: Origin,
        turn: &Turn,
    ) -> Step {
        if !path.admit(&mut self.frame, origin, turn.now, R::FINISHED) {
            return Step::Next;
        }
        if R::FINISHED && self.frame.meta.gso.is_some() {
            self.gather(room, turn.skip());
            self.begin_cut(path);
            return Step::Next;
        }
        self.want.learn(self.frame.len);
        let (headroom, spilled_at) = (turn.headroom, turn.spilled_at(room));
        if R::FINISHED {
            let spill = self.spill.get_mut(spilled_at..).unwrap_or_default();
            let chunk = &mut self.chunk;
            finish(&mut self.frame, Body { room, headroom, spill, spilled_at, chunk });
        }
        let len = self.frame.len;
        if room.len() < headroom.saturating_add(len) {
            self.held = Some(Held { since: turn.now, at: spilled_at, spilled: spilled_at..len });
            return Step::Next;
        }
        path.complete(&self.frame, room, headroom);
        Step::Deliver
    }

    /// Brings what is in the guest's buffers behind `skip` of them, and in the head, to the rest of
    /// the frame in the spill.
    fn gather(&mut self, room: &Scatter, skip: usize) {
        let head = self.frame.head.bytes();
        let there = room.len().saturating_sub(skip).min(self.frame.len.saturating_sub(head.len()));
        if let Some((front, rest)) = self.spill.split_at_mut_checked(head.len()) {
            front.copy_from_slice(head);
            room.read_at(skip, rest.get_mut(..there).unwrap_or_default());
        }
    }

    /// From now on pieces of the frame in the spill are delivered, if they can be.
    fn begin_cut(&mut self, path: &Path) {
        match Segments::of(&self.frame, &self.spill) {
            Ok(segments) => {
                let fits = path.pipeline.fits(segments.longest(), self.frame.head.bytes());
                self.cut = fits.then_some(segments);
            }
            Err(error) => {
                path.counters().rx_refused.add(1);
                path.warn("frame not received", &error);
            }
        }
    }

    /// Counts that frames wait for buffers, once for each wait however often it is looked at.
    fn count_starving(&mut self, path: &Path) {
        if !std::mem::replace(&mut self.starved, true) {
            path.counters().rx_no_buffers.add(1);
        }
    }

    /// Without a cable, or a ring: empties the backend, if what is there was meant for this lane.
    pub(super) fn throw_away(&mut self, path: &mut Path) -> Progress {
        let forgotten = self.forget_frame();
        let Some(nowhere) = &self.nowhere else { return Progress::Idle };
        let counters = &*path.pipeline.counters;
        let lost = match (path.link.is_pulled(), self.drain) {
            (true, _) => &counters.rx_no_link,
            (false, true) => &counters.rx_no_ring,
            (false, false) => return Progress::Idle,
        };
        if forgotten {
            lost.add(1);
        }
        for _ in 0..BUDGET {
            if !self.readable {
                return Progress::Idle;
            }
            let to = Room { buffers: nowhere, skip: HEAD, spill: &mut self.spill };
            match path.queue.recv(to, &mut self.frame) {
                Ok(()) | Err(QueueError::Refused(_)) => lost.add(1),
                Err(QueueError::NotReady | QueueError::Transient(_)) => self.readable = false,
                Err(QueueError::Gone(error)) => {
                    self.readable = false;
                    path.lose(&error);
                }
            }
        }
        Progress::More
    }
}

impl Turn {
    /// Bytes of the guest's buffers that the backend leaves out: the card's, and the head's place.
    fn skip(&self) -> usize {
        self.headroom.saturating_add(HEAD)
    }

    /// Where in a frame that is read to `room` its rest in the spill begins.
    fn spilled_at(&self, room: &Scatter) -> usize {
        room.len().saturating_sub(self.skip()).saturating_add(HEAD)
    }
}

impl Pause {
    /// Twice as long as the last one.
    fn after(last: Option<&Pause>, now: Instant) -> Pause {
        let length = last.map_or(FIRST_PAUSE, |last| last.length.saturating_mul(2));
        let length = length.min(LONGEST_PAUSE);
        Pause { until: now.checked_add(length).unwrap_or(now), length }
    }
}

impl Want {
    fn bytes(&self) -> usize {
        if self.calm_in > 0 { MAX_FRAME } else { ORDINARY }
    }

    fn learn(&mut self, len: usize) {
        self.calm_in = if len > ORDINARY { CALM } else { self.calm_in.saturating_sub(1) };
    }
}

#[cfg(test)]
#[path = "incoming_test.rs"]
mod tests;

//! The data path: a lane moves frames between one pair of rings and one queue of a backend.
//!
//! ```text
//! guest ── TxRing::next ──► TxFrame ── NetQueue::send ──► host
//! guest ◄─ RxRing::deliver ── RxFrame ◄─ NetQueue::recv ── host
//! ```
//! A lane belongs to one I/O thread and owns all it touches: no lock, no allocation. It pumps until
//! ring or backend has no more, and then sleeps until a kick or the backend's readiness, both
//! watched edge-triggered, so that no descriptor but the backend's is ever read.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::GuestRam;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::worker::{Again, EventSet, Interest, Source, Worker};

use crate::backend::{NetQueue, QueueError, Room};
use crate::capture::Tee;
use crate::frame::{HEAD, MAX_FRAME, Offloads, RxFrame, TxFrame};
use crate::mac::MacAddr;
use crate::pipeline::{LaneCounters, Pipeline, Throttle};
use crate::port::Link;
use crate::ring::{GuestFault, Next, RxRing, TxRing};
use crate::scatter::Scatter;
use crate::stage::delay::{Delays, Stopwatch, show_received, show_sent};
use crate::stage::filter::ReceiveFilter;
use crate::stage::finish::{Body, CHUNK, finish};
use crate::stage::limiter::Way;
use crate::stage::segment::Segments;

/// Frames and bytes per direction and turn; then the other direction, mail and the thread's other
/// lanes are heard.
const BUDGET: usize = 256;
const BUDGET_BYTES: usize = 1024 * 1024;
/// Frames and bytes after which finished ones are shown to the guest, so that it works in parallel.
/// A large TCP frame sent is shown by itself: Linux lets a stream have only about two of them in
/// flight. Received ones are not worth an interrupt each.
const BURST_FRAMES: usize = 32;
const TX_BURST_BYTES: usize = 32 * 1024;
const RX_BURST_BYTES: usize = 256 * 1024;
/// How long a frame may wait for room, in the backend or in the guest's buffers. Drivers take a
/// transmit queue for dead after a few seconds.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// First and longest pause after an error of the backend that may pass.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Room to offer while frames are ordinary; for larger ones room for the largest.
const ORDINARY: usize = 2048;
/// Ordinary frames in a row after which large ones are no longer expected.
const CALM: u32 = 64;

const BACKEND: Source = 0;
const TX_KICK: Source = 1;
const RX_KICK: Source = 2;

/// How a direction's share of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing to do until something is ready.
    Idle,
    /// There is more.
    More,
    /// Nothing to do until something is ready, or until then.
    Wait(Instant),
}

/// One queue of a backend and the pair of rings plugged into it.
pub struct Lane<T, R> {
    index: u16,
    queue: Box<dyn NetQueue>,
    /// The backend's descriptors are watched.
    watched: bool,
    link: Arc<Link>,
    pub(crate) pipeline: Pipeline,
    /// Copies frames for a capture, if there is one.
    pub(crate) tee: Option<Box<Tee>>,
    /// Measures how long frames take, if that is wanted.
    watch: Option<Box<Stopwatch>>,
    log: LogLimit,
    tx: Outgoing<T>,
    rx: Incoming<R>,
}

struct Outgoing<T> {
    ring: Option<T>,
    faulted: bool,
    frame: TxFrame,
    /// Since when the backend has had no room, and whether that may have changed.
    blocked_since: Option<Instant>,
    writable: bool,
    throttle: Throttle,
}

struct Incoming<R> {
    ring: Option<R>,
    faulted: bool,
    frame: RxFrame,
    /// The backend may have frames.
    readable: bool,
    /// The backend spoke of an error: it must be asked, buffers or not.
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

impl<T: TxRing, R: RxRing> Lane<T, R> {
    pub(crate) fn new(
        index: u16,
        queue: Box<dyn NetQueue>,
        memory: GuestRam,
        link: Arc<Link>,
        counters: Arc<LaneCounters>,
    ) -> Lane<T, R> {
        let filter = ReceiveFilter::promiscuous(MacAddr([0; 6]));
        Lane {
            index,
            queue,
            watched: false,
            link,
            pipeline: Pipeline {
                counters,
                accepted: Offloads::empty(),
                mtu: usize::MAX,
                filter,
                hasher: None,
                hits: None,
                limiter: Arc::default(),
                tracked: None,
            },
            tee: None,
            watch: None,
            log: LogLimit::default(),
            tx: Outgoing {
                ring: None,
                faulted: false,
                frame: TxFrame::new(memory),
                blocked_since: None,
                writable: true,
                throttle: Throttle::default(),
            },
            rx: Incoming {
                ring: None,
                faulted: false,
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
            },
        }
    }

    /// Whether frames that find no ring are thrown away, since they are steered here on purpose;
    /// else they wait in the backend.
    pub(crate) fn drain(&mut self, on: bool, memory: GuestRam) {
        self.rx.drain = on;
        self.rx.nowhere.get_or_insert_with(|| Scatter::new(memory));
    }

    /// The cable was pulled out or put in.
    pub(crate) fn cable_changed(&mut self, memory: GuestRam) {
        self.rx.readable = true;
        self.rx.nowhere.get_or_insert_with(|| Scatter::new(memory));
    }

    /// Limits have changed.
    pub(crate) fn limits_changed(&mut self) {
        self.pipeline.tracked = self.pipeline.limiter.tracker.table();
        self.tx.throttle.lift();
        self.rx.throttle.lift();
    }

    /// Frames come from a sorter from now on, or from the backend again.
    pub(crate) fn sort(&mut self, on: bool) -> io::Result<()> {
        self.rx.readable = true;
        self.queue.sort(on)
    }

    /// Measures into `delays` from now on, or no more.
    pub(crate) fn measure(&mut self, delays: Option<Arc<Delays>>) {
        let now = Instant::now();
        self.watch = delays.map(|delays| Box::new(Stopwatch::new(delays, now)));
        if let Some(ring) = &mut self.tx.ring {
            ring.stamp_offers(self.watch.is_some());
        }
    }

    pub(crate) fn plug_tx(&mut self, mut ring: T, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(ring.kick(), TX_KICK, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        ring.stamp_offers(self.watch.is_some());
        self.tx.ring = Some(ring);
        self.tx.faulted = false;
        Ok(())
    }

    /// Takes the ring out; no frame of it is in work afterwards.
    pub(crate) fn unplug_tx(&mut self, interest: &mut Interest<'_>) -> Option<T> {
        let ring = self.tx.ring.take()?;
        self.tx.blocked_since = None;
        self.tx.throttle.lift();
        self.forget(ring.kick(), interest);
        Some(ring)
    }

    pub(crate) fn plug_rx(&mut self, ring: R, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(ring.kick(), RX_KICK, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        self.rx.ring = Some(ring);
        self.rx.faulted = false;
        Ok(())
    }

    /// Takes the ring out; a frame that waited for more of its buffers is lost.
    pub(crate) fn unplug_rx(&mut self, interest: &mut Interest<'_>) -> Option<R> {
        let ring = self.rx.ring.take()?;
        if self.rx.forget_frame() {
            self.pipeline.counters.rx_too_large.add(1);
        }
        self.rx.throttle.lift();
        self.forget(ring.kick(), interest);
        Some(ring)
    }

    pub(crate) fn enable(&mut self, on: bool) -> io::Result<()> {
        self.rx.readable = true;
        self.queue.enable(on)
    }

    fn forget(&self, fd: BorrowedFd<'_>, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(fd) {
            tracing::error!("lane {}: cannot stop watching a descriptor: {error}", self.index);
        }
    }

    fn pump_tx(&mut self, now: Instant) -> Progress {
        match self.transmit(now) {
            Ok(progress) => progress,
            Err(fault) => {
                self.pipeline.counters.guest_faults.add(1);
                guest_warn!(self.log, "lane {}: transmit ring given up: {fault}", self.index);
                self.tx.faulted = true;
                if let Some(ring) = &mut self.tx.ring {
                    // What can still be said is said; the ring is given up in any case.
                    let _ = ring.publish();
                    ring.broken(fault);
                }
                Progress::Idle
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> Result<Progress, GuestFault> {
        let Outgoing { ring: Some(ring), faulted: false, frame, blocked_since, writable, throttle } =
            &mut self.tx
        else {
            return Ok(Progress::Idle);
        };
        let counters = &*self.pipeline.counters;
        let given_up_at = |since: Instant| since.checked_add(PATIENCE).unwrap_or(since);
        if let Some(since) = *blocked_since
            && !*writable
            && now < given_up_at(since)
        {
            return Ok(Progress::Wait(given_up_at(since)));
        }
        if let Some(until) = throttle.until().filter(|until| now < *until)
            && let Some(since) = throttle.since().filter(|since| now < given_up_at(*since))
        {
            return Ok(Progress::Wait(until.min(given_up_at(since))));
        }
        if let Some(watch) = &mut self.watch {
            watch.tx_begins(now, blocked_since.or(throttle.since()));
        }
        let pulled = self.link.is_pulled();
        let mut burst = Burst::of(TX_BURST_BYTES);
        for _ in 0..BUDGET {
            let token = match ring.next(frame)? {
                Next::Frame(token) => token,
                Next::Malformed(token) => {
                    counters.tx_malformed.add(1);
                    ring.complete(token)?;
                    continue;
                }
                Next::Empty => {
                    counters.interrupts.add(show_sent(&mut self.watch, ring)?.into());
                    return Ok(if ring.may_sleep()? { Progress::Idle } else { Progress::More });
                }
            };
            if pulled {
                counters.tx_no_link.add(1);
                ring.complete(token)?;
                continue;
            }
            if let Err(until) = throttle.ask(&self.pipeline.limiter, Way::Out, now) {
                let since = throttle.since().unwrap_or(now);
                if now < given_up_at(since) {
                    ring.put_back(token);
                    counters.interrupts.add(show_sent(&mut self.watch, ring)?.into());
                    return Ok(Progress::Wait(until.min(given_up_at(since))));
                }
                counters.tx_throttled.add(1);
                throttle.lift();
                ring.complete(token)?;
                continue;
            }
            throttle.lift();
            if !self.pipeline.tracks(Way::Out, frame.head.bytes(), now) {
                ring.complete(token)?;
                continue;
            }
            match self.queue.send(frame) {
                Ok(()) => {
                    *blocked_since = None;
                    self.pipeline.sent(frame, now);
                    if let Some(tee) = &mut self.tee {
                        tee.sent(frame);
                    }
                    if let Some(watch) = &mut self.watch {
                        watch.sent();
                    }
                }
                Err(QueueError::NotReady) => {
                    *writable = false;
                    let since = *blocked_since.get_or_insert(now);
                    if now < given_up_at(since) {
                        ring.put_back(token);
                        counters.interrupts.add(show_sent(&mut self.watch, ring)?.into());
                        return Ok(Progress::Wait(given_up_at(since)));
                    }
                    // Until there is room again frames are lost rather than kept: the guest must
                    // get its buffers back.
                    counters.tx_blocked.add(1);
                }
                Err(QueueError::Refused(error)) => {
                    counters.tx_refused.add(1);
                    guest_warn!(self.log, "lane {}: frame not sent: {error}", self.index);
                }
                Err(QueueError::Transient(error)) => {
                    counters.tx_refused.add(1);
                    counters.backend_errors.add(1);
                    guest_warn!(self.log, "lane {}: frame not sent: {error}", self.index);
                }
                Err(QueueError::Gone(error)) => {
                    counters.tx_refused.add(1);
                    counters.backend_errors.add(1);
                    self.link.lose(&error);
                }
            }
            ring.complete(token)?;
            if burst.ends_with(frame.len()) {
                counters.interrupts.add(show_sent(&mut self.watch, ring)?.into());
            }
            if burst.spent {
                break;
            }
        }
        counters.interrupts.add(show_sent(&mut self.watch, ring)?.into());
        Ok(Progress::More)
    }

    fn pump_rx(&mut self, now: Instant) -> Progress {
        match self.receive(now) {
            Ok(progress) => progress,
            Err(fault) => {
                self.pipeline.counters.guest_faults.add(1);
                guest_warn!(self.log, "lane {}: receive ring given up: {fault}", self.index);
                self.rx.faulted = true;
                self.rx.forget_frame();
                if let Some(ring) = &mut self.rx.ring {
                    // What can still be said is said; the ring is given up in any case.
                    let _ = ring.publish();
                    ring.broken(fault);
                }
                Progress::Idle
            }
        }
    }

    fn receive(&mut self, now: Instant) -> Result<Progress, GuestFault> {
        let Incoming {
            ring,
            faulted,
            frame,
            readable,
            suspect,
            spill,
            chunk,
            held,
            starved,
            cut,
            want,
            pause,
            throttle,
            ..
        } = &mut self.rx;
        let there = ring.as_mut().filter(|_| !*faulted && !self.link.is_pulled());
        let Some(ring) = there else { return Ok(self.throw_away()) };
        if held.is_none() && cut.is_none() && !*readable {
            return Ok(Progress::Idle);
        }
        if let Some(pause) = pause
            && now < pause.until
        {
            return Ok(Progress::Wait(pause.until));
        }
        let counters = &*self.pipeline.counters;
        let headroom = ring.headroom();
        if let Some(watch) = &mut self.watch {
            watch.rx_begins();
        }
        let mut burst = Burst::of(RX_BURST_BYTES);
        for _ in 0..BUDGET {
            if held.is_none()
                && let Some(segments) = cut
            {
                match segments.next(spill, frame) {
                    Some(spilled) => {
                        let at = frame.head.bytes().len();
                        *held = Some(Held { since: now, at, spilled });
                    }
                    None => *cut = None,
                }
            }
            if let Some(kept) = held {
                let need = headroom.saturating_add(frame.len);
                let room = ring.reserve(need)?;
                if room.len() >= need {
                    *starved = false;
                    let rest = spill.get(kept.spilled.clone()).unwrap_or_default();
                    room.write_at(headroom, frame.head.bytes());
                    room.write_at(headroom.saturating_add(kept.at), rest);
                    if let Some(tee) = &mut self.tee {
                        tee.received(frame, room, headroom);
                    }
                    ring.deliver(frame)?;
                    self.pipeline.delivered(frame, now);
                    if let Some(watch) = &mut self.watch {
                        watch.received();
                    }
                    *held = None;
                    if burst.ends_with(frame.len) {
                        counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                    }
                    if burst.spent {
                        break;
                    }
                    continue;
                }
                let given_up_at = kept.since.checked_add(PATIENCE).unwrap_or(now);
                if !ring.can_grow() || now >= given_up_at {
                    counters.rx_too_large.add(1);
                    (*held, *cut) = (None, None);
                    continue;
                }
                counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                if ring.may_sleep()? {
                    count_wait(starved, counters);
                    return Ok(Progress::Wait(given_up_at));
                }
                continue;
            }
            let room = ring.reserve(want.bytes())?;
            if room.is_empty() && !*suspect {
                // The frame stays in the backend, and the kick of the refill wakes the lane.
                counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                if ring.may_sleep()? {
                    count_wait(starved, counters);
                    return Ok(Progress::Idle);
                }
                continue;
            }
            if *readable && let Err(until) = throttle.ask(&self.pipeline.limiter, Way::In, now) {
                counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                return Ok(Progress::Wait(until));
            }
            *suspect = false;
            throttle.lift();
            *starved = false;
            let skip = headroom.saturating_add(HEAD);
            let spilled_at = room.len().saturating_sub(skip).saturating_add(HEAD);
            let beyond = spill.get_mut(spilled_at..).unwrap_or_default();
            match self.queue.recv(Room { buffers: room, skip, spill: beyond }, frame) {
                Ok(()) => {}
                Err(QueueError::NotReady) => {
                    *readable = false;
                    *pause = None;
                    counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                    return Ok(Progress::Idle);
                }
                Err(QueueError::Refused(error)) => {
                    counters.rx_refused.add(1);
                    guest_warn!(self.log, "lane {}: frame not received: {error}", self.index);
                    continue;
                }
                Err(QueueError::Transient(error)) => {
                    counters.backend_errors.add(1);
                    guest_warn!(self.log, "lane {}: cannot receive: {error}", self.index);
                    counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                    let next = Pause::after(pause.as_ref(), now);
                    return Ok(Progress::Wait(pause.insert(next).until));
                }
                Err(QueueError::Gone(error)) => {
                    counters.backend_errors.add(1);
                    *readable = false;
                    self.link.lose(&error);
                    counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
                    return Ok(Progress::Idle);
                }
            }
            *pause = None;
            if !self.pipeline.admit(frame, now, R::FINISHED) {
                continue;
            }
            if R::FINISHED && frame.meta.gso.is_some() {
                gather(frame, spill, room, skip);
                match Segments::of(frame, spill) {
                    Ok(segments) if self.pipeline.fits(segments.longest(), frame.head.bytes()) => {
                        *cut = Some(segments);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        counters.rx_refused.add(1);
                        guest_warn!(self.log, "lane {}: frame not received: {error}", self.index);
                    }
                }
                continue;
            }
            want.learn(frame.len);
            if R::FINISHED {
                let spill = spill.get_mut(spilled_at..).unwrap_or_default();
                finish(frame, Body { room, headroom, spill, spilled_at, chunk });
            }
            if room.len() < headroom.saturating_add(frame.len) {
                *held = Some(Held { since: now, at: spilled_at, spilled: spilled_at..frame.len });
                continue;
            }
            room.write_at(headroom, frame.head.bytes());
            if let Some(tee) = &mut self.tee {
                tee.received(frame, room, headroom);
            }
            ring.deliver(frame)?;
            self.pipeline.delivered(frame, now);
            if let Some(watch) = &mut self.watch {
                watch.received();
            }
            if burst.ends_with(frame.len) {
                counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
            }
            if burst.spent {
                break;
            }
        }
        counters.interrupts.add(show_received(&mut self.watch, ring)?.into());
        Ok(Progress::More)
    }
}

impl<R> Incoming<R> {
    /// Whether there was one that waited.
    fn forget_frame(&mut self) -> bool {
        let cut = self.cut.take().is_some();
        self.held.take().is_some() || cut
    }
}

/// Counts that frames wait for buffers, once for each wait however often it is looked at.
fn count_wait(starved: &mut bool, counters: &LaneCounters) {
    if !std::mem::replace(starved, true) {
        counters.rx_no_buffers.add(1);
    }
}

/// Brings what is in the guest's buffers behind `skip` of them, and in the head, to the rest of the
/// frame in the spill.
fn gather(frame: &RxFrame, spill: &mut [u8], room: &Scatter, skip: usize) {
    let head = frame.head.bytes();
    let there = room.len().saturating_sub(skip).min(frame.len.saturating_sub(head.len()));
    if let Some((front, rest)) = spill.split_at_mut_checked(head.len()) {
        front.copy_from_slice(head);
        room.read_at(skip, rest.get_mut(..there).unwrap_or_default());
    }
}

impl<T: TxRing, R: RxRing> Lane<T, R> {
    /// Without a cable, or a ring: empties the backend, if what is there was meant for this lane.
    fn throw_away(&mut self) -> Progress {
        let forgotten = self.rx.forget_frame();
        let Incoming { frame, readable, spill, drain, nowhere: Some(nowhere), .. } = &mut self.rx
        else {
            return Progress::Idle;
        };
        let counters = &*self.pipeline.counters;
        let lost = match (self.link.is_pulled(), *drain) {
            (true, _) => &counters.rx_no_link,
            (false, true) => &counters.rx_no_ring,
            (false, false) => return Progress::Idle,
        };
        if forgotten {
            lost.add(1);
        }
        for _ in 0..BUDGET {
            if !*readable {
                return Progress::Idle;
            }
            match self.queue.recv(Room { buffers: nowhere, skip: HEAD, spill }, frame) {
                Ok(()) | Err(QueueError::Refused(_)) => lost.add(1),
                Err(QueueError::NotReady | QueueError::Transient(_)) => *readable = false,
                Err(QueueError::Gone(error)) => {
                    counters.backend_errors.add(1);
                    *readable = false;
                    self.link.lose(&error);
                }
            }
        }
        Progress::More
    }
}

impl<T: TxRing, R: RxRing> Lane<T, R> {
    /// Fires interrupts whose time has come; says when the next one's does.
    fn put_off(&mut self, now: Instant) -> Option<Instant> {
        let tx = self.tx.ring.as_mut().map(|ring| ring.put_off(now)).unwrap_or_default();
        let rx = self.rx.ring.as_mut().map(|ring| ring.put_off(now)).unwrap_or_default();
        if let Some(watch) = &mut self.watch {
            watch.put_off(tx, rx);
        }
        for fired in [tx.fired, rx.fired] {
            self.pipeline.counters.interrupts.add(fired.into());
        }
        tx.until.into_iter().chain(rx.until).min()
    }
}

impl<T: TxRing, R: RxRing> Worker for Lane<T, R> {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        for (fd, set) in self.queue.watches() {
            interest.watch(fd, BACKEND, set | EventSet::EDGE_TRIGGERED)?;
            self.watched = true;
        }
        Ok(())
    }

    fn ready(&mut self, source: Source, readiness: EventSet) {
        // A kick needs no note: each turn looks at both rings.
        if source == BACKEND {
            let failed = EventSet::ERROR | EventSet::HANG_UP;
            self.rx.suspect |= readiness.intersects(failed);
            self.rx.readable |= readiness.intersects(EventSet::IN | failed);
            self.tx.writable |= readiness.intersects(EventSet::OUT | failed);
        }
    }

    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        if let Some(tee) = &mut self.tee {
            tee.turn();
        }
        let (tx, rx) = (self.pump_tx(now), self.pump_rx(now));
        if self.watched && self.link.is_lost() {
            for (fd, _) in self.queue.watches() {
                self.forget(fd, interest);
            }
            self.watched = false;
        }
        let interrupt = self.put_off(now);
        let waits = [tx, rx].map(|progress| match progress {
            Progress::Wait(then) => Some(then),
            Progress::Idle | Progress::More => None,
        });
        match waits.into_iter().chain([interrupt]).flatten().min() {
            _ if tx == Progress::More || rx == Progress::More => Again::Now,
            Some(then) => Again::At(then),
            None => Again::WhenReady,
        }
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

/// Frames finished in one turn and not yet shown.
struct Burst {
    frames: usize,
    bytes: usize,
    /// Bytes after which it is time to show them.
    most_bytes: usize,
    /// Bytes finished in the whole turn, and whether they are enough for one.
    turn: usize,
    spent: bool,
}

impl Burst {
    fn of(most_bytes: usize) -> Burst {
        Burst { frames: 0, bytes: 0, most_bytes, turn: 0, spent: false }
    }

    /// Counts one more frame; true, and the burst begins anew, if it is time to show them.
    fn ends_with(&mut self, len: usize) -> bool {
        self.turn = self.turn.saturating_add(len);
        self.spent = self.turn >= BUDGET_BYTES;
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
        let ends = self.frames >= BURST_FRAMES || self.bytes >= self.most_bytes;
        if ends {
            (self.frames, self.bytes) = (0, 0);
        }
        ends
    }
}

/// How much room the next frame will want, guessed from the last ones: each buffer offered costs
/// time, and what does not fit is copied once more.
#[derive(Default)]
struct Want {
    /// Ordinary frames still to come before large ones are no longer expected.
    calm_in: u32,
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
#[path = "lane_test.rs"]
mod tests;

//! The data path: a lane moves frames between one pair of rings and one queue of a backend.
//!
//! ```text
//! guest ── TxRing::next ──► TxFrame ── NetQueue::send ──► host      outgoing
//! guest ◄─ RxRing::deliver ── RxFrame ◄─ NetQueue::recv ── host     incoming
//! ```
//! A lane belongs to one I/O thread and owns all it touches: no lock, no allocation. It pumps until
//! ring or backend has no more, looks for more from a guest that is likely to have some soon, rests while frames that
//! stream to the guest gather, and else sleeps until a kick or the backend's readiness, both watched edge-triggered, so
//! that no descriptor but the backend's is ever read.

mod burst;
mod incoming;
mod outgoing;
mod path;
mod progress;

#[cfg(test)]
mod testing;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::linger::Linger;
use device_core::worker::{Again, EventSet, Interest, Source, Worker};

use crate::backend::NetQueue;
use crate::lent::{Rings, Standing};
use crate::link::Link;
use crate::pipeline::LaneCounters;
use crate::ring::{RxRing, TxRing};
use crate::service::Service;
use crate::stage::delay::{Delays, Stopwatch};

use incoming::Incoming;
use outgoing::Outgoing;
use path::Path;
use progress::Progress;

const BACKEND: Source = 0;
const TX_KICK: Source = 1;
const RX_KICK: Source = 2;
const SERVICE: Source = 3;

const IMPOSSIBLE: GuestFault = GuestFault("the kernel found it, or what it leads to, impossible");

/// One queue of a backend and the pair of rings plugged into it.
pub struct Lane<T, R> {
    pub(crate) path: Path,
    /// The backend's descriptors are watched.
    watched: bool,
    tx_ring: Socket<T>,
    rx_ring: Socket<R>,
    tx: Outgoing,
    rx: Incoming,
    linger: Linger,
    /// It does in this turn: the guest is not asked to kick.
    lingers: bool,
}

/// Where a ring is plugged in.
struct Socket<T> {
    ring: Option<T>,
    /// The guest broke it: it is left alone until it is taken out.
    faulted: bool,
}

impl<T> Socket<T> {
    fn plug(&mut self, ring: T) {
        *self = Socket { ring: Some(ring), faulted: false };
    }

    fn usable(&mut self) -> Option<&mut T> {
        self.ring.as_mut().filter(|_| !self.faulted)
    }
}

impl<T: TxRing, R: RxRing> Lane<T, R> {
    pub(crate) fn new(
        index: u16,
        queue: Box<dyn NetQueue>,
        memory: GuestRam,
        link: Arc<Link>,
        counters: Arc<LaneCounters>,
    ) -> Lane<T, R> {
        Lane {
            path: Path::new(index, queue, link, counters),
            watched: false,
            tx_ring: Socket { ring: None, faulted: false },
            rx_ring: Socket { ring: None, faulted: false },
            tx: Outgoing::new(memory),
            rx: Incoming::new(),
            linger: Linger::new(false),
            lingers: false,
        }
    }

    /// It may look for more before it sleeps: others can run meanwhile.
    pub(crate) fn may_linger(&mut self) {
        self.linger = Linger::new(true);
    }

    /// Whether frames that find no ring are thrown away, since they are steered here on purpose;
    /// else they wait in the backend.
    pub(crate) fn drain(&mut self, on: bool, memory: GuestRam) {
        self.rx.drain(on);
        self.rx.need_nowhere(memory);
    }

    /// The cable was pulled out or put in.
    pub(crate) fn cable_changed(&mut self, memory: GuestRam) {
        self.rx.may_read();
        self.rx.need_nowhere(memory);
    }

    /// Limits have changed.
    pub(crate) fn limits_changed(&mut self) {
        let pipeline = &mut self.path.pipeline;
        pipeline.tracked = pipeline.limiter.tracker.table();
        self.tx.limits_changed();
        self.rx.limits_changed();
    }

    /// Frames come from a sorter from now on, or from the backend again.
    pub(crate) fn sort(&mut self, on: bool) -> io::Result<()> {
        self.rx.may_read();
        self.path.queue.sort(on)
    }

    /// Gives the lane its share of its card's service. Fails if the host refuses to watch what other lanes
    /// leave for it.
    pub(crate) fn serve(
        &mut self,
        service: Service,
        interest: &mut Interest<'_>,
    ) -> io::Result<()> {
        if let Some(event) = self.path.service.as_ref().and_then(|service| service.event()) {
            self.forget(event, interest);
        }
        if let Some(event) = service.event() {
            interest.watch(event, SERVICE, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        }
        self.path.service = Some(Box::new(service));
        Ok(())
    }

    /// Sends frames of our own, by which the network hears of the guest's addresses.
    pub(crate) fn announce(&mut self, frames: &[Vec<u8>]) {
        self.tx.announce(frames, &mut self.path);
    }

    /// Measures into `delays` from now on, or no more.
    pub(crate) fn measure(&mut self, delays: Option<Arc<Delays>>) {
        let now = Instant::now();
        self.path.watch = delays.map(|delays| Box::new(Stopwatch::new(delays, now)));
        if let Some(ring) = &mut self.tx_ring.ring {
            ring.stamp_offers(self.path.watch.is_some());
        }
    }

    pub(crate) fn plug_tx(&mut self, mut ring: T, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(ring.kick(), TX_KICK, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        ring.stamp_offers(self.path.watch.is_some());
        self.tx_ring.plug(ring);
        Ok(())
    }

    /// Takes the ring out; no frame of it is in work afterwards.
    pub(crate) fn unplug_tx(&mut self, interest: &mut Interest<'_>) -> Option<T> {
        let ring = self.tx_ring.ring.take()?;
        self.tx.unplugged();
        self.forget(ring.kick(), interest);
        Some(ring)
    }

    pub(crate) fn plug_rx(&mut self, ring: R, interest: &mut Interest<'_>) -> io::Result<()> {
        interest.watch(ring.kick(), RX_KICK, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        self.rx_ring.plug(ring);
        Ok(())
    }

    /// Takes the ring out; a frame that waited for more of its buffers is lost.
    pub(crate) fn unplug_rx(&mut self, interest: &mut Interest<'_>) -> Option<R> {
        let ring = self.rx_ring.ring.take()?;
        if self.rx.unplugged() {
            self.path.counters().rx_too_large.add(1);
        }
        self.forget(ring.kick(), interest);
        Some(ring)
    }

    /// Lends both rings to the backend's queue, which moves their frames itself. Fails if it does not, or cannot.
    pub(crate) fn lend(&mut self, rings: Rings) -> io::Result<()> {
        let passes = !self.path.link.is_lost();
        let borrower = self.path.queue.borrower();
        borrower.ok_or(io::ErrorKind::Unsupported)?.take(rings, passes)
    }

    /// Takes them back; nobody touches their memory afterwards.
    pub(crate) fn take_back(&mut self) -> Option<Standing> {
        self.path.queue.borrower()?.give_back()
    }

    pub(crate) fn enable(&mut self, on: bool) -> io::Result<()> {
        self.rx.may_read();
        self.path.queue.enable(on)
    }

    fn forget(&self, fd: BorrowedFd<'_>, interest: &mut Interest<'_>) {
        if let Err(error) = interest.forget(fd) {
            tracing::error!("lane {}: cannot stop watching a descriptor: {error}", self.path.index);
        }
    }

    fn pump_tx(&mut self, now: Instant) -> Progress {
        let Some(ring) = self.tx_ring.usable() else { return Progress::Idle };
        match self.tx.transmit(ring, &mut self.path, now, self.lingers) {
            Ok(progress) => progress,
            Err(fault) => {
                self.path.ring_broken("transmit", fault);
                self.path.flush();
                // What can still be said is said; the ring is given up in any case.
                let _ = ring.publish();
                ring.broken(fault);
                self.tx_ring.faulted = true;
                Progress::Idle
            }
        }
    }

    fn pump_rx(&mut self, now: Instant) -> Progress {
        let pulled = self.path.link.is_pulled();
        let Some(ring) = self.rx_ring.usable().filter(|_| !pulled) else {
            return self.rx.throw_away(&mut self.path);
        };
        match self.rx.receive(ring, &mut self.path, now) {
            Ok(progress) => progress,
            Err(fault) => {
                self.path.ring_broken("receive", fault);
                self.rx.forget_frame();
                // What can still be said is said; the ring is given up in any case.
                let _ = ring.publish();
                ring.broken(fault);
                self.rx_ring.faulted = true;
                Progress::Idle
            }
        }
    }

    /// Fires interrupts whose time has come; says when the next one's does.
    fn put_off(&mut self, now: Instant) -> Option<Instant> {
        let tx = self.tx_ring.ring.as_mut().map(|ring| ring.put_off(now)).unwrap_or_default();
        let rx = self.rx_ring.ring.as_mut().map(|ring| ring.put_off(now)).unwrap_or_default();
        if let Some(watch) = &mut self.path.watch {
            watch.put_off(tx, rx);
        }
        for fired in [tx.fired, rx.fired] {
            self.path.counters().interrupts.add(fired.into());
        }
        tx.until.into_iter().chain(rx.until).min()
    }
}

impl<T: TxRing, R: RxRing> Worker for Lane<T, R> {
    fn begin(&mut self, interest: &mut Interest<'_>) -> io::Result<()> {
        self.path.queue.begin();
        for (fd, set) in self.path.queue.watches() {
            interest.watch(fd, BACKEND, set | EventSet::EDGE_TRIGGERED)?;
            self.watched = true;
        }
        Ok(())
    }

    fn ready(&mut self, source: Source, readiness: EventSet) {
        // A kick needs no note: each turn looks at both rings.
        if source == BACKEND {
            let failed = readiness.intersects(EventSet::ERROR | EventSet::HANG_UP);
            if failed {
                self.rx.suspect();
                self.path.queue.suspect();
            }
            if failed || readiness.intersects(EventSet::IN) {
                self.rx.may_read();
            }
            if failed || readiness.intersects(EventSet::OUT) {
                self.tx.may_write();
            }
            if self.path.queue.borrower().is_some_and(|borrower| borrower.is_broken()) {
                self.path.ring_broken("lent", IMPOSSIBLE);
            }
        }
    }

    fn run(&mut self, now: Instant, interest: &mut Interest<'_>) -> Again {
        if let Some(tee) = &mut self.path.tee {
            tee.turn();
        }
        self.lingers = self.linger.goes_on(now);
        let tx = self.pump_tx(now);
        if let Some(service) = &mut self.path.service {
            service.poll(now);
        }
        let rx = self.pump_rx(now);
        self.linger.worked(now, self.path.moved());
        if self.watched && self.path.link.is_lost() {
            for (fd, _) in self.path.queue.watches() {
                self.forget(fd, interest);
            }
            self.watched = false;
        }
        let interrupt = self.put_off(now);
        let waits = [tx, rx].map(|progress| match progress {
            Progress::Wait(then) => Some(then),
            Progress::Idle | Progress::More => None,
        });
        let served = self.path.service.as_ref().and_then(|service| service.deadline());
        let due = waits.into_iter().chain([interrupt, served]).flatten().min();
        match due {
            _ if tx == Progress::More || rx == Progress::More => Again::Now,
            _ if let Some(then) = self.linger.rest() => {
                Again::Rest(due.map_or(then, |due| due.min(then)))
            }
            // There may be reason to only now; and who was not asked to kick is not waited for.
            _ if self.lingers || self.linger.goes_on(now) => {
                if let Some(ring) = self.tx_ring.usable() {
                    ring.stay_quiet();
                }
                // Whoever waits for this CPU may be the guest.
                std::thread::yield_now();
                Again::Now
            }
            Some(then) => Again::At(then),
            None => Again::WhenReady,
        }
    }
}

#[cfg(test)]
#[path = "lane_test.rs"]
mod tests;

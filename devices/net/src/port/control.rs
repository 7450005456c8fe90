//! The port's share of what may be asked of a card, whatever its front is.

use std::fs::File;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Measured, NetPort};
use crate::capture::{Capture, Subject};
use crate::control::capture::{CaptureError, CaptureSpec, CaptureState};
use crate::control::inspect::{Bucket, Counters, Hashed, RssState};
use crate::control::latency::Latency;
use crate::event::Listener;
use crate::ring::{RxRing, TxRing};
use crate::rss::hits::Hits;
use crate::rss::{Protocol, Steering};
use crate::service::metadata::Metadata;
use crate::spec::Outside;
use crate::stage::limiter::{Allowances, Allowed};

/// What any port can tell and be asked, whatever its rings are; the meaning is that of
/// [`crate::control::NicControl`].
pub trait PortControl: Send + Sync {
    /// The host's side of the cable, for people.
    fn backend(&self) -> &str;
    /// Whether frames pass the lanes by, so that these can neither limit nor copy nor time nor stop them.
    fn is_passed_by(&self) -> bool;
    /// Whether frames can pass, as the guest sees it.
    fn is_link_up(&self) -> bool;
    /// Pulls the cable out, or puts it in again.
    fn set_link(&self, up: bool);
    /// Counters of each lane, in order of lanes.
    fn lane_counters(&self) -> Vec<Counters>;
    /// All lanes' counters added up.
    fn total_counters(&self) -> Counters;
    /// The guest's table and how it is followed; `None` while there is none.
    fn rss(&self) -> Option<RssState>;
    /// `None` while there is no table.
    fn steering(&self) -> Option<Steering>;
    /// What the card may do at most.
    fn allowed(&self) -> Allowed;
    /// How often it went beyond that.
    fn allowances(&self) -> Allowances;
    /// Replaces all limits.
    fn limit(&self, allowed: &Allowed);
    /// Begins a capture. Fails if `spec` cannot be of this card, or the file cannot be written.
    fn start_capture(&self, to: File, spec: &CaptureSpec) -> Result<(), CaptureError>;
    /// Ends the capture; how it went.
    fn stop_capture(&self) -> Option<CaptureState>;
    /// The capture that is running, or the last one.
    fn capture(&self) -> Option<CaptureState>;
    /// Begins to measure anew, or ends it.
    fn measure_latency(&self, on: bool);
    /// Whether latencies are being measured.
    fn measures_latency(&self) -> bool;
    /// What has been measured.
    fn latency(&self) -> Option<Latency>;
    /// Replaces who is told of what happens to the card.
    fn set_listener(&self, listener: Option<Listener>);
    /// Lets the guest reach a metadata service by the card. Fails if the host has no descriptor left.
    fn serve(&self, metadata: &Arc<Metadata>) -> io::Result<()>;
    /// What the service has done on the card; `None` if it has none.
    fn served(&self) -> Option<Counters>;
    /// Tells the network where the guest's addresses are.
    fn announce(&self);
    /// What the wire sees in place of the guest's addresses, and in place of which, if that is to be.
    fn outside(&self) -> Option<Outside>;
}

impl<T: TxRing, R: RxRing> PortControl for NetPort<T, R> {
    fn backend(&self) -> &str {
        self.link.backend()
    }

    fn is_passed_by(&self) -> bool {
        self.lends()
    }

    fn is_link_up(&self) -> bool {
        self.link.is_up()
    }

    fn set_link(&self, up: bool) {
        if self.link.pull(!up) {
            for lane in &self.lanes {
                let memory = self.memory.clone();
                lane.ask(move |lane, _| lane.cable_changed(memory));
            }
        }
    }

    fn lane_counters(&self) -> Vec<Counters> {
        self.counters.iter().map(|lane| Counters(lane.values().collect())).collect()
    }

    fn total_counters(&self) -> Counters {
        Counters(self.totals())
    }

    fn rss(&self) -> Option<RssState> {
        let control = self.control();
        let rss = control.rss.as_ref()?;
        let hits = |count: &dyn Fn(&Hits) -> u64| {
            let sum = control.hits.iter().map(|lane| count(lane));
            (!control.hits.is_empty()).then(|| sum.fold(0, u64::wrapping_add))
        };
        let hashed = Protocol::ALL.into_iter().filter_map(|protocol| {
            let fields = (rss.fields.of(protocol) & protocol.fields()).names();
            (!fields.is_empty()).then_some(Hashed { protocol, fields })
        });
        let table = rss.table.entries().iter().enumerate();
        Some(RssState {
            steering: control.steering,
            key: rss.key.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            initial: rss.initial,
            hashed: hashed.collect(),
            table: table
                .map(|(at, queue)| Bucket { queue: *queue, hits: hits(&|lane| lane.of_bucket(at)) })
                .collect(),
            unhashed: Bucket { queue: rss.table.unhashed(), hits: hits(&Hits::unhashed) },
        })
    }

    fn steering(&self) -> Option<Steering> {
        let control = self.control();
        control.rss.as_ref().map(|_| control.steering)
    }

    fn allowed(&self) -> Allowed {
        self.control().allowed
    }

    fn allowances(&self) -> Allowances {
        NetPort::allowances(self)
    }

    fn limit(&self, allowed: &Allowed) {
        NetPort::limit(self, allowed);
    }

    fn start_capture(&self, to: File, spec: &CaptureSpec) -> Result<(), CaptureError> {
        spec.validate(self.lanes())?;
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_tees();
        // The old one's file is complete before the new one begins.
        *capture = None;
        let lanes = match spec.queue {
            Some(queue) => vec![queue],
            None => (0..self.lanes()).collect(),
        };
        let (id, backend, outlook) = (&*self.id, self.link.backend(), &self.outlook);
        let subject = Subject { id, backend, outlook };
        let (begun, tees) = Capture::begin(to, *spec, &lanes, &subject, &self.capture_home)
            .map_err(CaptureError::Write)?;
        for (lane, tee) in lanes.into_iter().filter_map(|lane| self.lane(lane).ok()).zip(tees) {
            lane.ask(move |lane, _| lane.path.tee = Some(Box::new(tee)));
        }
        *capture = Some(begun);
        Ok(())
    }

    fn stop_capture(&self) -> Option<CaptureState> {
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_tees();
        let capture = capture.as_mut()?;
        capture.finish();
        Some(capture.state())
    }

    fn capture(&self) -> Option<CaptureState> {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        capture.as_ref().map(Capture::state)
    }

    fn measure_latency(&self, on: bool) {
        let mut measured = self.measured();
        if on {
            measured.delays = self.lanes.iter().map(|_| Arc::default()).collect();
        }
        measured.on = on;
        for (at, lane) in self.lanes.iter().enumerate() {
            let delays = measured.delays.get(at).cloned().filter(|_| on);
            lane.ask(move |lane, _| lane.measure(delays));
        }
    }

    fn measures_latency(&self) -> bool {
        self.measured().on
    }

    fn latency(&self) -> Option<Latency> {
        let measured = self.measured();
        let pairs = (0..).zip(&measured.delays).map(|(index, delays)| delays.of_pair(index));
        let pairs: Vec<_> = pairs.collect();
        (!pairs.is_empty()).then_some(Latency { on: measured.on, pairs })
    }

    fn set_listener(&self, listener: Option<Listener>) {
        self.outlook.set_listener(listener);
    }

    fn serve(&self, metadata: &Arc<Metadata>) -> io::Result<()> {
        NetPort::serve(self, metadata)
    }

    fn served(&self) -> Option<Counters> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.as_ref().map(|counters| Counters(counters.values().collect()))
    }

    fn announce(&self) {
        NetPort::announce(self);
    }

    fn outside(&self) -> Option<Outside> {
        self.control().outside
    }
}

impl<T: TxRing, R: RxRing> NetPort<T, R> {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lanes copy no frames any more.
    fn take_tees(&self) {
        for lane in &self.lanes {
            drop(lane.ask(|lane, _| lane.path.tee.take()));
        }
    }
}

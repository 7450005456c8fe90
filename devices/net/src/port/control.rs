//! The port's share of what may be asked of a card, whatever its front is.

use super::NetPort;
use crate::control::Listener;
use crate::control::inspect::{Bucket, Counters, Hashed, RssState};
use crate::ring::{RxRing, TxRing};
use crate::rss::hits::Hits;
use crate::rss::{Protocol, Steering};
use crate::stage::limiter::{Allowances, Allowed};

/// What any port can tell and be asked, whatever its rings are; the meaning is that of
/// [`crate::control::NicControl`].
pub trait PortControl: Send + Sync {
    fn backend(&self) -> &str;
    fn is_link_up(&self) -> bool;
    fn set_link(&self, up: bool);
    fn lane_counters(&self) -> Vec<Counters>;
    fn total_counters(&self) -> Counters;
    fn rss(&self) -> Option<RssState>;
    /// `None` while there is no table.
    fn steering(&self) -> Option<Steering>;
    fn allowed(&self) -> Allowed;
    fn allowances(&self) -> Allowances;
    fn limit(&self, allowed: &Allowed);
    fn set_listener(&self, listener: Option<Listener>);
}

impl<T: TxRing, R: RxRing> PortControl for NetPort<T, R> {
    fn backend(&self) -> &str {
        self.link.backend()
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

    fn set_listener(&self, listener: Option<Listener>) {
        self.outlook.set_listener(listener);
    }
}

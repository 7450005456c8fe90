//! By which lanes frames to the guest come: as its table says, or as the host likes.

use std::io;
use std::sync::Arc;

use device_core::worker::Post;

use super::{Control, NetPort};
use crate::ring::{RxRing, TxRing};
use crate::rss::explain::{MixedVersions, explain};
use crate::rss::hits::Hits;
use crate::rss::sorter::Sorter;
use crate::rss::{Explained, FlowKey, Hasher, Rss, Steering};

impl<T: TxRing, R: RxRing> NetPort<T, R> {
    /// Lets the host steer frames to the first `count` lanes only, at least one; while a guest's
    /// table says where frames go, that holds for later. Fails if the host refuses to turn a queue on or
    /// off.
    pub fn set_active_lanes(&self, count: u16) -> io::Result<()> {
        let mut control = self.control();
        control.wanted = count.clamp(1, self.lanes().max(1));
        self.activate(&mut control)?;
        control.spread()
    }

    fn activate(&self, control: &mut Control) -> io::Result<()> {
        // A table may name any lane.
        let count = if control.rss.is_some() { self.lanes() } else { control.wanted };
        // On from the lowest, off from the highest: so the host's order of queues stays ours.
        for lane in control.active..count {
            self.lane(lane)?.ask(|lane, _| lane.enable(true))?;
            control.active = lane.saturating_add(1);
        }
        for lane in (count..control.active).rev() {
            self.lane(lane)?.ask(|lane, _| lane.enable(false))?;
            control.active = lane;
        }
        Ok(())
    }

    /// Whether frames would go exactly where a guest's table says without a detour.
    pub fn steers(&self) -> bool {
        self.control().backend.steers()
    }

    /// Spreads received frames over the lanes as the guest's table says, or as the host likes; and
    /// finds the hash of each for the guest. Says how well the host follows.
    pub fn steer(&self, rss: Option<Rss>) -> Steering {
        let hasher = rss.map(|rss| Arc::new(Hasher::new(rss)));
        let mut control = self.control();
        let steering = self.steer_by(&mut control, hasher.as_ref());
        if steering != control.steering {
            tracing::debug!("{} steers frames {steering:?}", control.backend.name());
        }
        control.steering = steering;
        if let Err(error) = control.spread() {
            tracing::error!("cannot spread frames over queues: {error}");
        }
        self.set_hasher(&mut control, hasher);
        steering
    }

    /// Where frames of `flow` go and why, if there is a guest's table; `vector` says which vector a
    /// lane's receive ring has.
    pub fn explain(
        &self,
        flow: &FlowKey,
        vector: impl FnOnce(u16) -> Option<u16>,
    ) -> Option<Result<Explained, MixedVersions>> {
        let rss = self.control().rss.clone()?;
        Some(explain(&rss, flow, vector))
    }

    /// Finds the hash of each received frame for the guest, by other rules than it is steered by, or
    /// not at all.
    pub fn report_hashes(&self, rss: Option<Rss>) {
        let hasher = rss.map(|rss| Arc::new(Hasher::new(rss)));
        self.set_hasher(&mut self.control(), hasher);
    }

    fn steer_by(&self, control: &mut Control, hasher: Option<&Arc<Hasher>>) -> Steering {
        let (on, memory) = (hasher.is_some(), &self.memory);
        for lane in &self.lanes {
            let memory = memory.clone();
            lane.ask(move |lane, _| lane.drain(on, memory));
        }
        control.rss = hasher.map(|hasher| hasher.rss().clone());
        if let Err(error) = self.activate(control) {
            tracing::error!("cannot turn queues on or off: {error}");
        }
        if self.lanes.len() < 2 && on {
            return Steering::Exact;
        }
        let by_backend = control.backend.steer(hasher.map(AsRef::as_ref));
        let by_backend = by_backend.unwrap_or_else(|error| {
            tracing::warn!("{} cannot steer frames: {error}", control.backend.name());
            Steering::ByFlow
        });
        match &self.sorter {
            Some(sorter) => self.sort_by(sorter, hasher).unwrap_or_else(|error| {
                tracing::warn!("{}: cannot sort frames: {error}", control.backend.name());
                Steering::ByFlow
            }),
            None => by_backend,
        }
    }

    /// Whoever reads stops before the other begins, so that no flow is read by two.
    fn sort_by(&self, sorter: &Post<Sorter>, hasher: Option<&Arc<Hasher>>) -> io::Result<Steering> {
        let sort = |hasher| sorter.ask(move |sorter, interest| sorter.sort(hasher, interest));
        let Some(hasher) = hasher else {
            sort(None)?;
            for lane in &self.lanes {
                lane.ask(|lane, _| lane.sort(false))?;
            }
            return Ok(Steering::ByFlow);
        };
        // Off from the highest: so the host's order of queues stays ours.
        for lane in self.lanes.iter().rev() {
            lane.ask(|lane, _| lane.sort(true))?;
        }
        sort(Some(hasher.clone()))?;
        Ok(Steering::Sorted)
    }

    /// Buckets are those of the guest's table, as long as the hasher is the table's.
    fn set_hasher(&self, control: &mut Control, hasher: Option<Arc<Hasher>>) {
        let of_table = hasher.as_ref().filter(|hasher| Some(hasher.rss()) == control.rss.as_ref());
        let buckets = of_table.map(|hasher| hasher.rss().table.entries().len());
        control.hits.clear();
        for lane in &self.lanes {
            let (hasher, hits) = (hasher.clone(), buckets.map(|len| Arc::new(Hits::new(len))));
            control.hits.extend(hits.clone());
            lane.ask(move |lane, _| {
                lane.path.pipeline.hasher = hasher;
                lane.path.pipeline.hits = hits;
            });
        }
    }
}

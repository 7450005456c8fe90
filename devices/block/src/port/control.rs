//! The port's share of what may be asked of a disk, whatever its front is.

use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use device_core::files::Files;
use device_core::histogram::{Histogram, Summary};
use device_core::limiter::Levels;
use device_core::worker::Post;

use super::DiskPort;
use crate::control::{ChangeError, Inspection, Latency};
use crate::image::{Image, Mode, Source};
use crate::ring::BlockRing;
use crate::spec::{Allowed, Cache, Fault, Model};
use crate::stats::{LaneCounters, LaneStats, Stretches};

/// What any port can tell and be asked, whatever its ring is; the meaning is that of
/// [`crate::control::DiskControl`].
pub trait PortControl: Send + Sync {
    /// The disk's name.
    fn id(&self) -> &str;
    /// A picture of the disk; the front knows whether a driver has its queues in work.
    fn inspect(&self, model: Model, running: bool) -> Inspection;
    /// How long requests took on each stretch of their way.
    fn timings(&self) -> Stretches<Summary>;
    /// Microseconds in which requests waited for the limit of bytes, and for that of requests.
    fn throttled_us(&self) -> [u64; 2];
    /// What has completed survives a power cut from now on.
    fn sync(&self);
    /// Has the file of an overlay know what that has.
    fn write_map(&self);
    /// The lock on the image is free.
    fn let_go(&self);
    /// It is ours again; whether that could be.
    fn take_back(&self) -> io::Result<bool>;
    /// Looks at the image's size again.
    fn refresh(&self) -> Result<u64, ChangeError>;
    /// Takes another image.
    fn replace(&self, source: &Source<'_>, files: &dyn Files) -> Result<(), ChangeError>;
    /// What it may do at most.
    fn allowed(&self) -> Allowed;
    /// Replaces all limits.
    fn limit(&self, allowed: &Allowed);
    /// How far the limits are used up.
    fn levels(&self) -> Levels;
    /// Goes on from there. Only while no request is under way.
    fn set_levels(&self, levels: Levels);
    /// What goes wrong on purpose, the front's own faults included.
    fn faults(&self) -> Vec<Fault>;
    /// Makes something go wrong; the front's own faults are noted only.
    fn inject(&self, fault: Fault);
    /// Good behaviour again.
    fn clear_faults(&self);
}

impl<R: BlockRing> PortControl for DiskPort<R> {
    fn id(&self) -> &str {
        DiskPort::id(self)
    }

    fn inspect(&self, model: Model, running: bool) -> Inspection {
        let image = self.image().clone();
        let mut counters: Vec<(String, u64)> = LaneCounters::default()
            .values()
            .map(|(name, count)| (name.to_string(), count))
            .collect();
        for lane in &self.stats {
            for (total, (_, count)) in counters.iter_mut().zip(lane.counters.values()) {
                total.1 = total.1.wrapping_add(count);
            }
        }
        Inspection {
            id: self.id().to_string(),
            model,
            path: image.path().to_path_buf(),
            bases: image.bases(),
            overlay_bytes: image.overlay_bytes(),
            size: image.size(),
            read_only: self.mode.read_only,
            cache: self.cache(),
            direct: self.mode.direct,
            engine: self.engine,
            serial: self.serial.clone(),
            limits: self.allowed(),
            faults: self.faults(),
            running,
            in_flight: self.stats.iter().map(|lane| lane.in_flight()).fold(0, u64::saturating_add),
            counters,
            latency: slowest(&self.stats, |lane| &lane.service),
            stretches: Stretches {
                queue_to_submit: slowest(&self.stats, |lane| &lane.stretches.queue_to_submit),
                submit_to_completion: slowest(&self.stats, |lane| {
                    &lane.stretches.submit_to_completion
                }),
                completion_to_interrupt: slowest(&self.stats, |lane| {
                    &lane.stretches.completion_to_interrupt
                }),
            },
        }
    }

    fn timings(&self) -> Stretches<Summary> {
        let mut sums: Stretches<Summary> = Stretches::default();
        for lane in &self.stats {
            sums.queue_to_submit.add(&lane.stretches.queue_to_submit);
            sums.submit_to_completion.add(&lane.stretches.submit_to_completion);
            sums.completion_to_interrupt.add(&lane.stretches.completion_to_interrupt);
        }
        sums
    }

    fn throttled_us(&self) -> [u64; 2] {
        self.stats.iter().fold([0, 0], |[bw, iops]: [u64; 2], lane| {
            let LaneCounters { throttled_bw_us, throttled_iops_us, .. } = &lane.counters;
            [bw.wrapping_add(throttled_bw_us.get()), iops.wrapping_add(throttled_iops_us.get())]
        })
    }

    fn sync(&self) {
        let image = self.image().clone();
        if image.overlay().is_some() {
            image.settle();
        } else if self.cache() == Cache::Writeback
            && !self.mode.read_only
            && let Err(error) = image.file().sync_data()
        {
            image.lose(&error);
        }
    }

    fn write_map(&self) {
        let image = self.image().clone();
        if image.overlay().is_some_and(|overlay| overlay.map.is_changed()) {
            image.settle();
        }
    }

    fn let_go(&self) {
        self.image().unlock();
    }

    fn take_back(&self) -> io::Result<bool> {
        self.image().relock()
    }

    fn refresh(&self) -> Result<u64, ChangeError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let image = self.image().clone();
        self.look_at(&image)
    }

    fn replace(&self, source: &Source<'_>, files: &dyn Files) -> Result<(), ChangeError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.image().clone();
        if source.bases.is_empty() && old.is_claimed_at(source.path) {
            // As one does with a device that was mended.
            self.look_at(&old)?;
            old.forgive();
            return Ok(());
        }
        let said = |error: crate::image::OpenError| ChangeError::of(&error);
        let mode = Mode { read_only: self.mode.read_only, direct: self.mode.direct };
        let new = Arc::new(Image::open_source_unlocked(source, mode, files).map_err(said)?);
        let name = source.path.display();
        if new.mode() != mode {
            return Err(ChangeError(format!("{name} cannot be written, and the guest's disk can")));
        }
        // An image that takes its own place, or goes below what does, has one lock for both.
        let is_same = new.shares_with(&old);
        if !is_same {
            new.lock().map_err(said)?;
        }
        self.halt();
        let replaced = self.replace_halted(&old, &new, is_same);
        for lane in &self.lanes {
            lane.ask(|lane, _| lane.resume());
        }
        replaced?;
        if new.size() != old.size() {
            self.tell_listener();
        }
        Ok(())
    }

    fn allowed(&self) -> Allowed {
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self, allowed: &Allowed) {
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = *allowed;
        self.shared.limiter.set((*allowed).into());
        for lane in &self.lanes {
            lane.ask(|lane, _| lane.limits_changed());
        }
    }

    fn levels(&self) -> Levels {
        self.shared.limiter.levels(Instant::now())
    }

    fn set_levels(&self, levels: Levels) {
        self.shared.limiter.set_levels(levels, Instant::now());
    }

    fn faults(&self) -> Vec<Fault> {
        self.shared.troubles.list()
    }

    fn inject(&self, fault: Fault) {
        self.shared.troubles.add(fault);
    }

    fn clear_faults(&self) {
        self.shared.troubles.clear();
        for lane in &self.lanes {
            lane.ask(|lane, _| lane.faults_cleared());
        }
    }
}

impl<R: BlockRing> DiskPort<R> {
    /// Takes the size over that the image has now; what that is.
    fn look_at(&self, image: &Image) -> Result<u64, ChangeError> {
        let path = image.path().display();
        let failed = |error| ChangeError(format!("cannot look at the size of {path}: {error}"));
        let (bytes, before) = (image.measure().map_err(failed)?, image.size());
        image.resize(bytes);
        let now = image.size();
        if now < before {
            let id = self.id();
            tracing::warn!("disk {id}: {path} has shrunk from {before} to {now} bytes");
        }
        if now != before {
            self.tell_listener();
        }
        Ok(now)
    }

    /// Has all lanes stop, and waits until nothing is with the host.
    fn halt(&self) {
        let quiet: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| {
                let (quiet, heard) = sync_channel(1);
                lane.tell(move |lane, _| lane.halt(quiet));
                heard
            })
            .collect();
        for (lane, quiet) in self.lanes.iter().zip(&quiet) {
            lane.await_from(quiet);
        }
    }

    fn replace_halted(
        &self,
        old: &Arc<Image>,
        new: &Arc<Image>,
        is_same: bool,
    ) -> Result<(), ChangeError> {
        old.settle();
        if is_same {
            old.unlock();
            if let Err(error) = new.lock() {
                // Whoever took it meanwhile has it now.
                let ChangeError(said) = ChangeError::of(&error);
                return Err(ChangeError(match old.lock() {
                    Ok(()) => said,
                    Err(_) => format!("{said}; the disk goes on without a lock"),
                }));
            }
        }
        let switch = |lane: &Post<_>, image: &Arc<Image>| {
            let image = image.clone();
            lane.ask(move |lane: &mut crate::lane::Lane<R>, _| lane.replace(image))
        };
        for (nth, lane) in self.lanes.iter().enumerate() {
            if let Err(error) = switch(lane, new) {
                // Back with those that have gone over.
                for lane in self.lanes.iter().take(nth) {
                    if let Err(error) = switch(lane, old) {
                        tracing::error!("disk {}: a lane keeps the new image: {error}", self.id());
                    }
                }
                return Err(ChangeError(format!("the host does not take the image: {error}")));
            }
        }
        if let (Some(overlay), Cache::Unsafe) = (new.overlay(), self.cache()) {
            overlay.promise_nothing();
        }
        *self.image() = new.clone();
        Ok(())
    }

    fn tell_listener(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = &*listener {
            listener();
        }
    }
}

/// The longest of the lanes' times: a queue that is slow is not to be averaged away.
fn slowest(stats: &[Arc<LaneStats>], of: impl Fn(&LaneStats) -> &Histogram) -> Latency {
    let mut longest = Latency::default();
    for lane in stats {
        let [half, most, nearly_all, all] = of(lane).at([500, 900, 990, 1000]);
        longest.p50_ns = longest.p50_ns.max(half);
        longest.p90_ns = longest.p90_ns.max(most);
        longest.p99_ns = longest.p99_ns.max(nearly_all);
        longest.max_ns = longest.max_ns.max(all);
    }
    longest
}

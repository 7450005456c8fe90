//! The port's share of what may be asked of a disk, whatever its front is.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};

use device_core::files::Files;
use device_core::worker::Post;

use super::DiskPort;
use crate::control::{ChangeError, Inspection, Latency};
use crate::image::{Image, Mode};
use crate::ring::BlockRing;
use crate::spec::{Allowed, Fault, Model};
use crate::stats::{LaneCounters, LaneStats};

/// What any port can tell and be asked, whatever its ring is; the meaning is that of
/// [`crate::control::DiskControl`].
pub trait PortControl: Send + Sync {
    /// The disk's name.
    fn id(&self) -> &str;
    /// A picture of the disk; the front knows whether a driver has its queues in work.
    fn inspect(&self, model: Model, running: bool) -> Inspection;
    /// Looks at the image's size again.
    fn refresh(&self) -> Result<u64, ChangeError>;
    /// Takes another image.
    fn replace(&self, path: &Path, files: &dyn Files) -> Result<(), ChangeError>;
    /// What it may do at most.
    fn allowed(&self) -> Allowed;
    /// Replaces all limits.
    fn limit(&self, allowed: &Allowed);
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
            latency: latency(&self.stats),
        }
    }

    fn refresh(&self) -> Result<u64, ChangeError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let image = self.image().clone();
        let path = image.path().display();
        let failed = |error| ChangeError(format!("cannot look at the size of {path}: {error}"));
        let (bytes, before) = (image.measure().map_err(failed)?, image.size());
        if bytes < before {
            return Err(ChangeError(format!(
                "{path} has shrunk from {before} to {bytes} bytes, and a guest cannot be told so; it keeps the size, and what is gone fails"
            )));
        }
        image.resize(bytes);
        if image.size() != before {
            self.tell_listener();
        }
        Ok(image.size())
    }

    fn replace(&self, path: &Path, files: &dyn Files) -> Result<(), ChangeError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.image().clone();
        let said = |error: crate::image::OpenError| ChangeError::of(&error);
        let mode = Mode { read_only: self.mode.read_only, direct: self.mode.direct };
        let new = Arc::new(Image::open_unlocked(path, mode, files).map_err(said)?);
        let name = path.display();
        if new.mode() != mode {
            return Err(ChangeError(format!("{name} cannot be written, and the guest's disk can")));
        }
        if new.medium() != old.medium() {
            return Err(ChangeError(format!(
                "{name} is not of the same kind as the image before: a file is replaced by a file, a device by one with blocks of the same size"
            )));
        }
        // An image that takes its own place has one lock for both.
        let is_same = new.is_same_as(&old);
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
        self.shared.limiter.set(allowed);
        for lane in &self.lanes {
            lane.ask(|lane, _| lane.limits_changed());
        }
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
fn latency(stats: &[Arc<LaneStats>]) -> Latency {
    let mut longest = Latency::default();
    for lane in stats {
        let [half, most, nearly_all, all] = lane.service.at([500, 900, 990, 1000]);
        longest.p50_ns = longest.p50_ns.max(half);
        longest.p90_ns = longest.p90_ns.max(most);
        longest.p99_ns = longest.p99_ns.max(nearly_all);
        longest.max_ns = longest.max_ns.max(all);
    }
    longest
}

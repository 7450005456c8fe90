//! What the controller shows to the one who runs the machine, and what it lets him ask.

use std::io;

use block::control::{ChangeError, DiskControl, Inspection, NoSuchFault};
use block::image::Source;
use block::spec::{Allowed, Fault};
use block::stats::Stretches;
use device_core::files::Files;
use device_core::histogram::Summary;

use crate::card::{Card, Phase};
use crate::device::Nvme;

/// The faults that are the controller's own; others are its disk's.
fn is_ours(fault: &Fault) -> bool {
    matches!(fault, Fault::Vanish | Fault::Fatal)
}

impl Card {
    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.port.faults();
        faults.retain(|fault| !is_ours(fault));
        let ours = [(Fault::Vanish, self.is_gone()), (Fault::Fatal, self.is_fatal())];
        faults.extend(ours.into_iter().filter(|(_, on)| *on).map(|(fault, _)| fault));
        faults
    }

    fn inspect(&self) -> Inspection {
        let running = self.with(|control| {
            control.phase == Phase::Ready && control.queues.iter().next().is_some()
        });
        let mut inspection = self.port.inspect(self.model, running);
        inspection.serial.clone_from(&self.identity.serial);
        inspection.faults = self.faults();
        inspection.counters.extend(self.own_counters());
        inspection
    }

    /// What the disk does not count.
    fn own_counters(&self) -> Vec<(String, u64)> {
        let sum = |of: fn(&crate::stats::LaneCounters) -> u64| {
            self.stats.iter().fold(0u64, |sum, lane| sum.wrapping_add(of(&lane.counters)))
        };
        let resets = self.with(|control| control.resets);
        vec![
            ("malformed".to_string(), sum(|counters| counters.malformed.get())),
            ("resets".to_string(), resets),
        ]
    }
}

impl DiskControl for Nvme {
    fn id(&self) -> &str {
        &self.card().id
    }

    fn inspect(&self) -> Inspection {
        self.card().inspect()
    }

    fn timings(&self) -> Stretches<Summary> {
        self.card().port.timings()
    }

    fn sync(&self) {
        self.card().port.sync();
    }

    fn write_map(&self) {
        self.card().port.write_map();
    }

    fn let_go(&self) {
        self.card().port.let_go();
    }

    fn take_back(&self) -> io::Result<bool> {
        self.card().port.take_back()
    }

    fn refresh(&self) -> Result<u64, ChangeError> {
        let size = self.card().port.refresh()?;
        self.card().look_at_size();
        Ok(size)
    }

    fn replace(&self, source: &Source<'_>, files: &dyn Files) -> Result<(), ChangeError> {
        self.card().port.replace(source, files)?;
        self.card().look_at_size();
        Ok(())
    }

    fn allowed(&self) -> Allowed {
        self.card().port.allowed()
    }

    fn limit(&self, allowed: &Allowed) {
        self.card().port.limit(allowed);
    }

    fn faults(&self) -> Vec<Fault> {
        self.card().faults()
    }

    fn inject(&self, fault: Fault) -> Result<(), NoSuchFault> {
        tracing::info!("disk {}: goes wrong as asked: {fault:?}", self.card().id);
        match fault {
            Fault::Vanish => self.card().set_gone(true),
            Fault::Fatal => self.card().set_fatal(true),
            fault => self.card().port.inject(fault),
        }
        Ok(())
    }

    fn clear_faults(&self) {
        self.card().port.clear_faults();
        self.card().set_gone(false);
        self.card().set_fatal(false);
    }
}

#[cfg(test)]
#[path = "inspect_test.rs"]
mod tests;

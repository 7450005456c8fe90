//! What others ask of a lane, between two of its turns.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use device_core::worker::{EventSet, Interest};

use super::{KICK, Lane, Then, Told};
use crate::image::Image;
use crate::request::Outcome;
use crate::ring::BlockRing;
use crate::task::Task;

impl<R: BlockRing> Lane<R> {
    /// Takes a ring in. Fails if there is one, or its kick cannot be watched.
    pub fn plug(&mut self, ring: R, interest: &mut Interest<'_>) -> io::Result<()> {
        if self.ring.is_some() {
            return Err(io::Error::other(format!("lane {} has a ring", self.index)));
        }
        interest.watch(ring.kick(), KICK, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        (self.ring, self.fault, self.told) = (Some(ring), None, false);
        Ok(())
    }

    /// Nothing more is taken from the ring, and `then` gets it when all that was taken has ended.
    pub fn unplug(&mut self, then: Then<R>) {
        self.leaving.push(then);
        self.let_go();
    }

    /// The guest wants the request back that it calls `name`; `then` hears whether it was still here. What is with
    /// the host goes on, and what was swallowed counts as that.
    pub fn take_back(&mut self, name: u16, then: Told) {
        let found = self.find(name);
        self.taken_back.push((then, found));
    }

    fn find(&mut self, name: u16) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let seats = &self.seats;
        let is_it =
            |task: &Task| seats.token(task.seat).is_some_and(|token| ring.is_called(token, name));
        // Others may wait for one that was admitted.
        let fresh = self.due.iter().position(|task| !task.admitted && is_it(task));
        let waiting = fresh
            .and_then(|at| self.due.remove(at))
            .or_else(|| self.waiting.remove(is_it))
            .or_else(|| self.victims.remove_slowed(is_it));
        if let Some(task) = waiting {
            match task.admitted {
                true => self.end(task, Outcome::Aborted),
                false => self.finish(task, Outcome::Aborted),
            }
            return true;
        }
        match ring.take_back(name) {
            Ok(found) => {
                self.stats.counters.aborted.add(found.into());
                self.unshown |= found;
                found
            }
            Err(fault) => {
                self.give_up(fault);
                false
            }
        }
    }

    /// Nothing is taken until [`Lane::resume`]; `quiet` is told when nothing is with the host.
    pub fn halt(&mut self, quiet: SyncSender<()>) {
        self.halted = true;
        self.quiet = Some(quiet);
    }

    /// Takes requests again.
    pub fn resume(&mut self) {
        self.halted = false;
    }

    /// Requests are of `image` from now on; only between [`Lane::halt`] and [`Lane::resume`]. Fails, with the
    /// old one in place, if the engine does.
    pub fn replace(&mut self, image: Arc<Image>) -> io::Result<()> {
        self.engine.replace(image.clone())?;
        self.image = image;
        Ok(())
    }

    /// Limits have changed.
    pub fn limits_changed(&mut self) {
        self.throttled_until = None;
    }

    /// Nothing goes wrong on purpose any more: what was kept goes on.
    pub fn faults_cleared(&mut self) {
        let swallowed = self.victims.take_swallowed();
        self.due.extend(swallowed);
        while let Some(task) = self.victims.take_slowed(Instant::now(), true) {
            self.due.push_back(task);
        }
    }

    /// What would keep the ring here without being with the host does so no longer.
    fn let_go(&mut self) {
        for task in self.victims.take_swallowed() {
            self.finish(task, Outcome::Aborted);
        }
        while let Some(task) = self.victims.take_slowed(Instant::now(), true) {
            self.due.push_back(task);
        }
    }
}

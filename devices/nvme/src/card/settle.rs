//! Brings rings to where they belong: on their lanes while the controller may work, home otherwise. What
//! waited for a ring to come home follows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::errand::{Errand, Reason, Stage};
use super::queues::Place;
use super::{Card, Control, Phase, Shutdown};
use crate::abi::{Completion, Status};
use crate::errors::Error;
use crate::lanes::{FlushRing, FlushState, Ring};

/// The lane of the controller's own flushes.
const FIRST: u16 = 0;

impl Card {
    /// Does all that can be done without waiting.
    pub(super) fn settle(&self, control: &mut Control) {
        self.let_in(control);
        self.end_aborts(control);
        loop {
            self.move_queues(control);
            self.go_on_errand(control);
            self.end_deletions(control);
            let is_over = self.end_reset(control);
            // A ring without requests in flight comes home at once.
            if !self.let_in(control) && !is_over {
                break;
            }
        }
        self.show_answers(control);
    }

    /// Takes in who came home; whether somebody did.
    fn let_in(&self, control: &mut Control) -> bool {
        let arrived = self.home.let_in();
        let somebody = !arrived.is_empty();
        for (lane, ring) in arrived {
            match ring {
                Ring::Queue(ring) => {
                    if let Some(sq) = control.queues.get(lane.saturating_add(1)) {
                        sq.place = Place::Home(ring);
                    }
                }
                Ring::Flush(_) => {
                    if let Some(errand) = &mut control.errand {
                        errand.stage = Stage::Waiting;
                    }
                }
            }
        }
        somebody
    }

    fn move_queues(&self, control: &mut Control) {
        let may_run = self.runs_queues(control);
        for (id, sq) in control.queues.iter_mut() {
            let lane = id.saturating_sub(1);
            let wanted = may_run && sq.deletion.is_none();
            match std::mem::replace(&mut sq.place, Place::Leaving) {
                Place::Home(ring) if wanted => {
                    sq.place = Place::Lane;
                    if let Err(error) = self.lanes.plug(lane, Ring::Queue(ring)) {
                        sq.place = Place::Lost;
                        self.lost(id, &error);
                    }
                }
                Place::Lane if !wanted => self.lanes.unplug_then(lane, self.home.way(lane)),
                place => sq.place = place,
            }
        }
    }

    fn lost(&self, queue: u16, error: &io::Error) {
        tracing::error!("disk {}: its queue {queue} is lost: {error}", self.id);
        self.alarm.fail();
    }

    /// Ends the queues that the host has done with, once their last request has ended.
    fn end_deletions(&self, control: &mut Control) {
        for id in 1..=self.queue_count() {
            let Some(place) = control.queues.place(id) else { return };
            let ended = place.as_ref().filter(|sq| sq.place.is_home());
            let Some(command) = ended.and_then(|sq| sq.deletion) else { continue };
            if let Some(sq) = place.take() {
                self.forget_queue(id, sq.cq);
            }
            control.admin.answer(Completion::new(command, Status::OK));
        }
    }

    /// A submission queue is no more.
    fn forget_queue(&self, id: u16, cq: u16) {
        let Some(bell) = self.bells.get(id) else { return };
        bell.close();
        if let Some(completions) = self.completions.get(usize::from(cq)) {
            completions.detach(bell);
        }
    }

    /// Starts a flush of the controller's own. One that is under way serves as well, as no queue has
    /// written meanwhile; who waited for it is told that it failed.
    pub(crate) fn send(&self, control: &mut Control, reason: Reason) {
        let Some(errand) = &mut control.errand else {
            control.errand = Some(Errand::new(reason));
            return;
        };
        if let Reason::CacheOff { id } = std::mem::replace(&mut errand.reason, reason) {
            self.fail_command(control, id, Status::INTERNAL);
        }
    }

    /// An admin command that waited for something has failed.
    fn fail_command(&self, control: &mut Control, command: u16, status: Status) {
        let error = Error { queue: 0, command, status, block: 0, namespace: 0 };
        control.admin.answer(Completion::new(command, self.errors.note(error)));
    }

    fn go_on_errand(&self, control: &mut Control) {
        let all_home = control.queues.are_home();
        let may_go = control.started && !matches!(control.phase, Phase::Draining { .. });
        let Some(errand) = &mut control.errand else { return };
        let is_over = errand.reason == Reason::Gone || errand.state.ended().is_some();
        match errand.stage {
            Stage::Waiting if is_over => self.end_errand(control),
            Stage::Waiting if all_home && may_go => {
                errand.stage = Stage::Lane;
                let state = errand.state.clone();
                if let Err(error) = self.plug_flush(state) {
                    tracing::error!("disk {}: it cannot be flushed: {error}", self.id);
                    errand.stage = Stage::Waiting;
                    self.alarm.fail();
                    control.errand = None;
                }
            }
            Stage::Lane if is_over || !may_go => {
                errand.stage = Stage::Leaving;
                self.lanes.unplug_then(FIRST, self.home.way(FIRST));
            }
            _ => {}
        }
    }

    fn plug_flush(&self, state: Arc<FlushState>) -> io::Result<()> {
        let ring = FlushRing::new(state, self.alarm.clone())?;
        self.lanes.plug(FIRST, Ring::Flush(ring))
    }

    fn end_errand(&self, control: &mut Control) {
        let Some(Errand { reason, state, .. }) = control.errand.take() else { return };
        let went_well = state.ended() == Some(true);
        match reason {
            Reason::Shutdown => {
                if !went_well {
                    tracing::error!("disk {}: what was written may be lost", self.id);
                }
                control.shutdown = Shutdown::Over;
            }
            Reason::CacheOff { id } if went_well => {
                self.write_cache.store(false, Ordering::Relaxed);
                control.admin.answer(Completion::new(id, Status::OK));
            }
            Reason::CacheOff { id } => self.fail_command(control, id, Status::WRITE_FAULT),
            Reason::Gone => {}
        }
        // Queues go on.
        self.move_queues(control);
    }

    /// Waits until rings have come home so that `enough` says so, or it is `deadline`; whether they have. The
    /// controller must not want them elsewhere.
    pub(super) fn wait_for_rings(
        &self,
        deadline: Option<Instant>,
        enough: impl Fn(&Control) -> bool,
    ) -> bool {
        loop {
            let seen = self.home.arrivals();
            let are_home = self.with(|control| enough(control));
            if are_home || !self.home.wait(seen, deadline) {
                return are_home;
            }
        }
    }
}

//! What the card does unasked: events, keep-alives, and what is made to go wrong.

use std::time::Instant;

use device_core::attendant::Attended;
use net::control::{Fault, NicEvent};

use super::{Card, Control};
use crate::admin::events::Hints;
use crate::admin::queue::NoRam;

impl Attended for Card {
    fn attend(&self, now: Instant) -> Option<Instant> {
        let control = &mut *self.control();
        if self.alarm.is_raised() && !control.alarm_seen && !control.resetting {
            control.alarm_seen = true;
            self.port.outlook().tell(NicEvent::Failed);
            self.settle(control);
            control.events.insist_on_reset(now);
        }
        let link_up = self.port.link().is_up();
        if link_up != control.link_up {
            control.link_up = link_up;
            control.events.link_changed();
        }
        while control.is_up()
            && let Some(fault) = control.plan.take(now)
        {
            tracing::info!("network card {}: goes wrong as planned: {fault}", self.id);
            self.go_wrong(control, fault, now);
        }
        self.post_events(control, now);
        if !self.may_touch_memory(control) {
            return None;
        }
        self.keep_alive(control, now);
        control.next_at()
    }
}

impl Card {
    /// Tells the driver that the card lives, if that is due.
    pub(crate) fn keep_alive(&self, control: &mut Control, now: Instant) {
        if self.may_touch_memory(control) && control.events.take_keep_alive(now) {
            let drops = self.totals(control).drops();
            let posted = control.events.keep_alive(drops, now, &self.memory);
            self.posted(control, posted);
        }
    }

    /// One management interrupt, or a note that one is owed.
    pub(crate) fn interrupt_management(&self, control: &mut Control) {
        if control.interrupts_masked {
            control.interrupt_owed = true;
        } else if let Some(vector) = self.msi.vector(0) {
            vector.fire();
        }
    }

    /// Posts events that are due and have room.
    pub(crate) fn post_events(&self, control: &mut Control, now: Instant) {
        if !self.may_touch_memory(control) {
            return;
        }
        let link_up = control.link_up;
        let posted = control.events.post(link_up, now, &self.memory);
        self.posted(control, posted);
    }

    /// Tells the driver of events, if there are new ones; an event ring that broke is given up.
    fn posted(&self, control: &mut Control, posted: Result<bool, NoRam>) {
        match posted {
            Ok(true) => self.interrupt_management(control),
            Ok(false) => {}
            Err(why) => {
                control.events.set_ring(None);
                self.fail(&why);
            }
        }
    }

    /// Makes something go wrong.
    pub(crate) fn inject(&self, fault: Fault, now: Instant) {
        self.with(|control| self.go_wrong(control, fault, now));
    }

    fn go_wrong(&self, control: &mut Control, fault: Fault, now: Instant) {
        self.port.outlook().tell(NicEvent::Fault { fault });
        match fault {
            Fault::StopKeepAlive => control.events.withhold_keep_alives(true, now),
            Fault::NoAnswer => self.mischief.leave_unanswered(1),
            Fault::SwallowTx(count) => self.mischief.swallow(count),
            Fault::WrongTxId => self.mischief.invent_ids(1),
            Fault::RequestReset => {
                control.events.request_reset();
                self.post_events(control, now);
            }
            Fault::Fatal => self.alarm.raise(),
        }
    }

    /// Has the driver reset the card, if there is one: it listens to events.
    pub(crate) fn ask_for_reset(&self, now: Instant) {
        self.with(|control| {
            if control.resetting || control.events.groups() == 0 {
                return;
            }
            tracing::info!("network card {}: its driver is asked to reset it", self.id);
            control.events.insist_on_reset(now);
            self.post_events(control, now);
        });
    }

    /// Nothing goes wrong any more, but for what has.
    pub(crate) fn behave(&self, now: Instant) {
        self.with(|control| {
            self.mischief.clear();
            if !self.alarm.is_raised() {
                control.events.withhold_keep_alives(false, now);
            }
        });
    }

    /// Advises the driver of other timeouts.
    pub(crate) fn advise(&self, hints: Hints, now: Instant) {
        self.with(|control| {
            control.hints = hints;
            control.events.advise(hints);
            self.post_events(control, now);
        });
    }
}

//! What the controller does unasked: events, and what follows when a ring came home.

use std::time::Instant;

use device_core::attendant::Attended;

use super::{Card, Control, Phase};
use crate::abi::Status;
use crate::alarm::BadDoorbell;
use crate::errors::Error;

impl Attended for Card {
    fn attend(&self, _: Instant) -> Option<Instant> {
        self.with(|control| {
            let noted = self.alarm.take_noted();
            if let Some(bad) = noted.filter(|_| control.phase == Phase::Ready) {
                tracing::debug!("disk {}: a doorbell was written wrong: {bad:?}", self.id);
                let status = match bad {
                    BadDoorbell::NoQueue => Status::QUEUE_ID,
                    BadDoorbell::Value => Status::INVALID_FIELD,
                };
                self.errors.note(Error::of_controller(status));
                control.events.bad_doorbell(bad);
            }
            if self.alarm.has_failed() && !control.failure_seen {
                control.failure_seen = true;
                self.errors.note(Error::of_controller(Status::INTERNAL));
                control.events.failed();
            }
            self.tell_events(control);
        });
        None
    }
}

impl Card {
    /// Answers requests for events for which there is something to tell.
    pub(crate) fn tell_events(&self, control: &mut Control) {
        while let Some(completion) = control.events.next() {
            control.admin.answer(completion);
        }
    }

    /// Shows answers to admin commands to the host, as far as there is room.
    pub(crate) fn show_answers(&self, control: &mut Control) {
        if !self.may_touch_memory(control) || control.phase != Phase::Ready {
            return;
        }
        let (answers, head) = control.admin.answers();
        if answers.is_empty() {
            return;
        }
        let Some(completions) = self.completions.first() else { return };
        if let Err(why) = completions.post(0, head, answers) {
            answers.clear();
            self.fail(&why);
        }
    }

    /// The disk may have another size; whether it has.
    pub(crate) fn look_at_size(&self) -> bool {
        self.with(|control| {
            let size = self.lanes.size();
            let changed = std::mem::replace(&mut control.size, size) != size;
            if changed {
                control.events.namespace_changed();
                self.tell_events(control);
            }
            changed
        })
    }
}

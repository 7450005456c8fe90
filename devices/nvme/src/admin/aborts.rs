//! Abort (NVMe base specification 1.4, 5.1): commands that the controller still has are taken back; those that
//! are with the host's disk are not.

use super::commands::Answer;
use crate::abi::{Command, Completion, Status};
use crate::card::queues::Place;
use crate::card::{Card, Control};

/// Aborts that may wait for their answer at once, less one (ACL of Identify Controller).
pub const LIMIT: u8 = 4;

/// What an abort is answered with.
fn result(found: bool) -> u32 {
    // Bit 0: the command was not aborted.
    (!found).into()
}

impl Card {
    pub(super) fn abort(&self, control: &mut Control, command: &Command) -> Result<Answer, Status> {
        let (queue, wanted) = (command.word(10) as u16, (command.word(10) >> 16) as u16);
        if queue == 0 {
            // Others of this queue are answered at once, or by what they wait for.
            let found = control.events.take_back(wanted);
            if found {
                control.admin.answer(Completion::new(wanted, Status::ABORTED));
            }
            return Ok(Answer::Now(result(found)));
        }
        let waiting = control.aborts;
        let place = control.queues.get(queue).map(|sq| &mut sq.place);
        match place.ok_or(Status::INVALID_FIELD)? {
            Place::Home(ring) => {
                let found = ring.take_back(wanted);
                let found = found.and_then(|found| ring.publish().map(|_| found));
                match found {
                    Ok(found) => Ok(Answer::Now(result(found))),
                    Err(fault) => {
                        ring.broken(fault);
                        Err(Status::INTERNAL)
                    }
                }
            }
            Place::Lost => Ok(Answer::Now(result(false))),
            Place::Lane | Place::Leaving if waiting > LIMIT => Err(Status::ABORT_LIMIT),
            Place::Lane | Place::Leaving => {
                control.aborts = waiting.saturating_add(1);
                let told = self.home.message(control.resets, command.id());
                self.lanes.take_back_then(queue.saturating_sub(1), wanted, told);
                Ok(Answer::Later)
            }
        }
    }

    /// Answers the aborts that lanes have heard of.
    pub(crate) fn end_aborts(&self, control: &mut Control) {
        for heard in self.home.heard() {
            // After a reset nobody waits for it.
            if heard.resets == control.resets {
                control.aborts = control.aborts.saturating_sub(1);
                let (id, result) = (heard.command, result(heard.found));
                control.admin.answer(Completion { id, status: Status::OK, result });
            }
        }
    }
}

#[cfg(test)]
#[path = "aborts_test.rs"]
mod tests;

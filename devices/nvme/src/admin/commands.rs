//! Commands of the admin queue: taken, judged, carried out, answered (NVMe base specification 1.4, 5).

use crate::abi::{Command, Completion, Status, admin};
use crate::card::{Card, Control};
use crate::errors::Error;

/// What a command that was not refused is answered with.
pub enum Answer {
    /// This, in the completion's first doubleword, at once.
    Now(u32),
    /// It is answered when it has happened.
    Later,
}

impl Card {
    /// Does all that the doorbell announced, at most a queue full of it, and as much as there is room to
    /// answer.
    pub(crate) fn run_commands(&self, control: &mut Control) {
        for _ in 0..control.admin.size() {
            self.show_answers(control);
            if !self.takes_commands(control) || control.admin.is_stuck() {
                return;
            }
            match control.admin.next() {
                Ok(None) => return,
                Ok(Some(command)) => {
                    let result = self.execute(control, &command);
                    self.answer(control, &command, result);
                    self.tell_events(control);
                }
                Err(why) => {
                    self.fail(&why);
                    return;
                }
            }
        }
    }

    fn execute(&self, control: &mut Control, command: &Command) -> Result<Answer, Status> {
        if command.is_foreign() {
            return Err(Status::INVALID_FIELD);
        }
        match command.opcode() {
            admin::CREATE_CQ => self.create_cq(control, command),
            admin::CREATE_SQ => self.create_sq(control, command),
            admin::DELETE_CQ => self.delete_cq(command),
            admin::DELETE_SQ => self.delete_sq(control, command),
            admin::IDENTIFY => self.identify(control, command),
            admin::GET_LOG_PAGE => self.get_log_page(control, command),
            admin::GET_FEATURES => self.get_features(control, command),
            admin::SET_FEATURES => self.set_features(control, command),
            admin::ABORT => self.abort(control, command),
            admin::ASYNC_EVENT => control.events.hold(command.id()).map(|()| Answer::Later),
            admin::DOORBELL_BUFFER => self.set_doorbell_buffer(control, command),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn answer(&self, control: &mut Control, command: &Command, result: Result<Answer, Status>) {
        let id = command.id();
        let completion = match result {
            Ok(Answer::Later) => return,
            Ok(Answer::Now(result)) => Completion { id, status: Status::OK, result },
            Err(status) => {
                let opcode = command.opcode();
                let code = status.code();
                tracing::debug!(
                    "disk {}: admin command {id} (opcode {opcode:#x}) refused: {code:#x}",
                    self.id
                );
                Completion::new(id, self.note_refusal(command, status))
            }
        };
        control.admin.answer(completion);
    }

    fn note_refusal(&self, command: &Command, status: Status) -> Status {
        let namespace = command.namespace();
        self.errors.note(Error { queue: 0, command: command.id(), status, block: 0, namespace })
    }
}

#[cfg(test)]
#[path = "commands_test.rs"]
mod tests;

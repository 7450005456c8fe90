//! Commands of the admin queue: taken, judged, carried out, answered (specification 4).
//!
//! All of it happens on the vCPU that rang the doorbell, under the card's lock.

use std::time::Instant;

use super::queue::Next;
use crate::abi::{self, Command, Payload, Refusal};
use crate::card::{Card, Control};

impl Card {
    /// Does all that the doorbell announced, at most a ring full of it.
    pub(crate) fn run_commands(&self, control: &mut Control, now: Instant) {
        while self.may_touch_memory(control) {
            match control.admin.next(&self.memory) {
                Ok(Next::Nothing) => return,
                Ok(Next::Command(command, in_phase)) => {
                    let result = if in_phase {
                        self.execute(control, &command, now)
                    } else {
                        Err(Refusal::Malformed)
                    };
                    self.answer(control, &command, result);
                }
                Err(why) => {
                    control.admin.set_commands(None);
                    self.fail(&why);
                    return;
                }
            }
        }
    }

    fn execute(
        &self,
        control: &mut Control,
        command: &Command,
        now: Instant,
    ) -> Result<Payload, Refusal> {
        match command.opcode() {
            abi::CREATE_CQ | abi::CREATE_SQ if self.alarm.is_raised() => Err(Refusal::Unknown),
            abi::CREATE_CQ => self.create_cq(control, command),
            abi::CREATE_SQ => self.create_sq(control, command, now),
            abi::DESTROY_CQ => self.destroy_cq(control, command),
            abi::DESTROY_SQ => self.destroy_sq(control, command),
            abi::GET_FEATURE => self.get_feature(control, command),
            abi::SET_FEATURE => self.set_feature(control, command, now),
            abi::GET_STATS => self.get_stats(control, command),
            _ => Err(Refusal::BadOpcode),
        }
    }

    fn answer(&self, control: &mut Control, command: &Command, result: Result<Payload, Refusal>) {
        if self.mischief.takes_answer() {
            return;
        }
        let (status, payload) = match result {
            Ok(payload) => (0, payload),
            Err(refusal) => {
                let (id, opcode) = (command.id(), command.opcode());
                tracing::debug!(
                    "network card {}: admin command {id} (opcode {opcode}) refused: {refusal:?}",
                    self.id
                );
                (refusal as u8, Payload::default())
            }
        };
        match control.admin.answer(command.id(), status, &payload, &self.memory) {
            Ok(()) => self.interrupt_management(control),
            Err(why) => {
                control.admin.set_answers(None);
                self.fail(&why);
            }
        }
    }
}

#[cfg(test)]
#[path = "commands_test.rs"]
mod tests;

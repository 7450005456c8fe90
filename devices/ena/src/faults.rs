//! Faults on demand: what the card does wrong so that a driver's recovery can be rehearsed.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

/// One thing to go wrong. All end with the reset that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No keep-alives: the driver resets with reason 1.
    StopKeepAlive,
    /// No answer to the next admin command: reason 2.
    NoAnswer,
    /// No completions of this many transmitted frames: reason 3 if it is more than 128, and else
    /// 10 once a queue stands still.
    SwallowTxCompletions(u32),
    /// A request id that no frame has in the next transmit completion: reason 5.
    WrongTxRequestId,
    /// The card asks to be reset: reason 19 from drivers that know the event.
    RequestReset,
    /// The fatal state: all queues stop, and so do keep-alives.
    Fatal,
}

/// Faults that wait for their occasion, on any thread.
#[derive(Debug, Default)]
pub struct Mischief {
    unanswered: AtomicU32,
    swallowed: AtomicU32,
    wrong_ids: AtomicU32,
}

impl Mischief {
    pub fn leave_unanswered(&self, commands: u32) {
        self.unanswered.store(commands, Ordering::Relaxed);
    }

    pub fn swallow(&self, completions: u32) {
        self.swallowed.store(completions, Ordering::Relaxed);
    }

    pub fn invent_ids(&self, completions: u32) {
        self.wrong_ids.store(completions, Ordering::Relaxed);
    }

    /// Back to good behaviour.
    pub fn clear(&self) {
        for fault in [&self.unanswered, &self.swallowed, &self.wrong_ids] {
            fault.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the command at hand is to stay without answer.
    pub fn takes_answer(&self) -> bool {
        take(&self.unanswered)
    }

    /// What a completion that ought to name `id` names; `None` for no completion.
    pub fn completed(&self, id: u16) -> Option<u16> {
        if take(&self.swallowed) {
            return None;
        }
        // No ring is so deep.
        Some(if take(&self.wrong_ids) { u16::MAX } else { id })
    }

    /// All that are in force.
    pub fn in_force(&self, keep_alives_stopped: bool) -> Vec<Fault> {
        let waiting = |fault: &AtomicU32| fault.load(Ordering::Relaxed);
        let mut faults = Vec::new();
        if keep_alives_stopped {
            faults.push(Fault::StopKeepAlive);
        }
        if waiting(&self.unanswered) > 0 {
            faults.push(Fault::NoAnswer);
        }
        match waiting(&self.swallowed) {
            0 => {}
            left => faults.push(Fault::SwallowTxCompletions(left)),
        }
        if waiting(&self.wrong_ids) > 0 {
            faults.push(Fault::WrongTxRequestId);
        }
        faults
    }
}

/// Takes one of `count`, if there is one. The common case is a plain load.
fn take(count: &AtomicU32) -> bool {
    count.load(Ordering::Relaxed) > 0
        && count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
}

//! Faults on demand: what the card does wrong so that a driver's recovery can be rehearsed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use net::spec::{Fault, Rehearsal};
use serde::{Deserialize, Serialize};

use crate::saved::nanoseconds;

/// Faults planned before the machine ran, each for once. Time begins when the driver has brought
/// the card up for the first time, since the reset of its probe would undo what was wrong before.
#[derive(Debug, Default)]
pub struct Plan {
    /// In order of time.
    faults: Vec<(Duration, Fault)>,
    /// The first that has not been.
    next: usize,
    since: Option<Instant>,
}

impl Plan {
    /// The faults of `rehearsals`, in order of time; time has not begun.
    pub fn new(rehearsals: &[Rehearsal]) -> Plan {
        let timed = |one: &Rehearsal| (Duration::from_secs(one.after_s.into()), one.kind);
        let mut faults: Vec<(Duration, Fault)> = rehearsals.iter().map(timed).collect();
        faults.sort_by_key(|(after, _)| *after);
        Plan { faults, next: 0, since: None }
    }

    /// The card is up; the first time counts.
    pub fn came_up(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// When the next one is due.
    pub fn next_at(&self) -> Option<Instant> {
        let (after, _) = self.faults.get(self.next)?;
        self.since?.checked_add(*after)
    }

    /// Takes the next one, if it is due.
    pub fn take(&mut self, now: Instant) -> Option<Fault> {
        self.next_at().filter(|due| *due <= now)?;
        let (_, fault) = self.faults.get(self.next)?;
        self.next = self.next.saturating_add(1);
        Some(*fault)
    }
}

/// How far a plan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanState {
    /// Faults that have been.
    pub done: usize,
    /// How long time has run, in nanoseconds, if it has begun.
    pub age_ns: Option<u64>,
}

impl Plan {
    /// How far it is at `now`.
    pub fn save(&self, now: Instant) -> PlanState {
        let age = |since| nanoseconds(now.saturating_duration_since(since));
        PlanState { done: self.next, age_ns: self.since.map(age) }
    }

    /// Goes on from there at `now`; whether that can be. The plan itself is the user's.
    pub fn load(&mut self, state: &PlanState, now: Instant) -> bool {
        self.next = state.done.min(self.faults.len());
        self.since = state.age_ns.and_then(|age| now.checked_sub(Duration::from_nanos(age)));
        self.since.is_some() == state.age_ns.is_some()
    }
}

/// Faults that wait for their occasion, by how often they do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MischiefState {
    /// Admin commands that stay without answer.
    pub unanswered: u32,
    /// Transmit completions that do not come.
    pub swallowed: u32,
    /// Transmit completions that name no packet.
    pub wrong_ids: u32,
}

/// Faults that wait for their occasion, on any thread.
#[derive(Debug, Default)]
pub struct Mischief {
    unanswered: AtomicU32,
    swallowed: AtomicU32,
    wrong_ids: AtomicU32,
}

impl Mischief {
    /// The next `commands` admin commands stay without answer.
    pub fn leave_unanswered(&self, commands: u32) {
        self.unanswered.store(commands, Ordering::Relaxed);
    }

    /// The next `completions` transmit completions do not come.
    pub fn swallow(&self, completions: u32) {
        self.swallowed.store(completions, Ordering::Relaxed);
    }

    /// The next `completions` transmit completions name a request id that no packet has.
    pub fn invent_ids(&self, completions: u32) {
        self.wrong_ids.store(completions, Ordering::Relaxed);
    }

    /// What waits.
    pub fn save(&self) -> MischiefState {
        let waiting = |fault: &AtomicU32| fault.load(Ordering::Relaxed);
        MischiefState {
            unanswered: waiting(&self.unanswered),
            swallowed: waiting(&self.swallowed),
            wrong_ids: waiting(&self.wrong_ids),
        }
    }

    /// This waits from now on.
    pub fn load(&self, state: &MischiefState) {
        self.leave_unanswered(state.unanswered);
        self.swallow(state.swallowed);
        self.invent_ids(state.wrong_ids);
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
            left => faults.push(Fault::SwallowTx(left)),
        }
        if waiting(&self.wrong_ids) > 0 {
            faults.push(Fault::WrongTxId);
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

#[cfg(test)]
#[path = "faults_test.rs"]
mod tests;

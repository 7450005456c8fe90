//! What goes wrong on purpose, and requests that wait for it to end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::spec::Fault;
use crate::task::Task;

/// How much longer a request takes.
const SLOW: Duration = Duration::from_secs(1);

/// What goes wrong, for all lanes of a disk.
#[derive(Debug, Default)]
pub struct Troubles(AtomicU8);

fn bit(fault: Fault) -> u8 {
    match fault {
        Fault::Swallow => 1,
        Fault::Error => 2,
        Fault::Slow => 4,
        // The controller's own.
        Fault::Vanish => 8,
        Fault::Fatal => 16,
    }
}

const ALL: [Fault; 5] = [Fault::Swallow, Fault::Error, Fault::Slow, Fault::Vanish, Fault::Fatal];

impl Troubles {
    /// From now on this goes wrong too.
    pub fn add(&self, fault: Fault) {
        self.0.fetch_or(bit(fault), Ordering::Relaxed);
    }

    /// Nothing does any more.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether this does.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.load(Ordering::Relaxed) & bit(fault) != 0
    }

    /// All that does.
    pub fn list(&self) -> Vec<Fault> {
        ALL.into_iter().filter(|fault| self.has(*fault)).collect()
    }

    #[inline]
    fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What becomes of a request.
pub(super) enum Fate {
    /// Nothing special.
    Goes(Box<Task>),
    /// It is to fail.
    Fails(Box<Task>),
    /// It waits here.
    Kept,
}

/// Requests of one lane that wait here.
#[derive(Default)]
pub(super) struct Victims {
    swallowed: VecDeque<Box<Task>>,
    /// In order of when they may go.
    slowed: VecDeque<(Instant, Box<Task>)>,
}

impl Victims {
    /// A request comes in.
    #[inline]
    pub fn meet(&mut self, troubles: &Troubles, task: Box<Task>, now: Instant) -> Fate {
        if troubles.is_none() {
            return Fate::Goes(task);
        }
        if troubles.has(Fault::Swallow) {
            self.swallowed.push_back(task);
            return Fate::Kept;
        }
        if troubles.has(Fault::Error) {
            return Fate::Fails(task);
        }
        if troubles.has(Fault::Slow) {
            self.slowed.push_back((now.checked_add(SLOW).unwrap_or(now), task));
            return Fate::Kept;
        }
        Fate::Goes(task)
    }

    /// How many are kept for as long as the fault lasts.
    pub fn swallowed(&self) -> usize {
        self.swallowed.len()
    }

    /// All of them.
    pub fn take_swallowed(&mut self) -> VecDeque<Box<Task>> {
        std::mem::take(&mut self.swallowed)
    }

    /// The next one whose time has come, or any with `all`.
    pub fn take_slowed(&mut self, now: Instant, all: bool) -> Option<Box<Task>> {
        let (due, _) = self.slowed.front()?;
        if *due > now && !all {
            return None;
        }
        self.slowed.pop_front().map(|(_, task)| task)
    }

    /// One whose time has not come, of which `is_it` says so.
    pub fn remove_slowed(&mut self, is_it: impl Fn(&Task) -> bool) -> Option<Box<Task>> {
        let at = self.slowed.iter().position(|(_, task)| is_it(task))?;
        self.slowed.remove(at).map(|(_, task)| task)
    }

    /// When the next one's time comes.
    pub fn due(&self) -> Option<Instant> {
        self.slowed.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use device_core::testing::ram;

    use super::*;

    #[test]
    fn a_slow_request_goes_a_second_later_and_none_overtakes_it() {
        let (troubles, mut victims, start) =
            (Troubles::default(), Victims::default(), Instant::now());
        troubles.add(Fault::Slow);
        let memory = ram(4096);
        for nth in 0..2u32 {
            let now = start + SLOW / 2 * nth;
            let task = Box::new(Task::new(memory.clone()));
            assert!(matches!(victims.meet(&troubles, task, now), Fate::Kept));
        }
        assert_eq!(victims.due(), Some(start + SLOW));
        assert!(victims.take_slowed(start + SLOW / 2, false).is_none());
        assert!(victims.take_slowed(start + SLOW, false).is_some());
        assert!(victims.take_slowed(start + SLOW, false).is_none());
        assert!(victims.take_slowed(start + SLOW, true).is_some());
        assert_eq!(victims.due(), None);
    }
}

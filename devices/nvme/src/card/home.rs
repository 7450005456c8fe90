//! Where rings come home to from lanes, and word of commands that were taken back there.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::alarm::Alarm;
use crate::lanes::{Homecoming, Ring, Told};

/// Rings that have left their lanes and that nobody has taken in yet.
pub struct Home {
    door: Mutex<Door>,
    knock: Condvar,
    alarm: Arc<Alarm>,
}

#[derive(Default)]
struct Door {
    rings: Vec<(u16, Ring)>,
    /// How many have come in all.
    arrivals: u64,
    heard: Vec<Heard>,
}

/// What became of a command that its host wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// How many resets there had been when it was asked for.
    pub resets: u64,
    /// Id of the command that asked for it.
    pub command: u16,
    /// It was taken back.
    pub found: bool,
}

impl Home {
    /// Nobody is at the door; who comes calls `alarm`.
    pub fn new(alarm: Arc<Alarm>) -> Home {
        Home { door: Mutex::default(), knock: Condvar::new(), alarm }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way home from `lane`.
    pub fn way(self: &Arc<Home>, lane: u16) -> Homecoming {
        let home = self.clone();
        Box::new(move |ring| {
            let mut door = home.door();
            door.rings.push((lane, ring));
            door.arrivals = door.arrivals.wrapping_add(1);
            drop(door);
            home.knock.notify_all();
            home.alarm.call();
        })
    }

    /// Brings word of the abort that command `command` asked for, after `resets` resets.
    pub fn message(self: &Arc<Home>, resets: u64, command: u16) -> Told {
        let home = self.clone();
        Box::new(move |found| {
            home.door().heard.push(Heard { resets, command, found });
            home.alarm.call();
        })
    }

    /// Word that has come since the last call.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.door().heard)
    }

    /// Those that are at the door, with their lanes.
    pub fn let_in(&self) -> Vec<(u16, Ring)> {
        std::mem::take(&mut self.door().rings)
    }

    /// How many have arrived in all, for [`Home::wait`].
    pub fn arrivals(&self) -> u64 {
        self.door().arrivals
    }

    /// Waits until more than `seen` have arrived, whoever let them in, or it is `deadline`; whether they
    /// have.
    pub fn wait(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut door = self.door();
        while door.arrivals == seen {
            let Some(deadline) = deadline else {
                door = self.knock.wait(door).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.knock.wait_timeout(door, left);
            (door, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

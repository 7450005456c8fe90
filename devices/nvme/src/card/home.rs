//! Where rings come home to from lanes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::alarm::Alarm;
use crate::lanes::{Homecoming, Ring};

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

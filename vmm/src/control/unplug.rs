//! Devices that the guest is asked to let go, and who waits for that.

use std::time::{Duration, Instant};

use devices::Kind;

use crate::action::{Outcome, Reply, Waiting};

/// How long a guest may take to let a device go.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The same where no driver of the guest's uses it: the guest is told, and need not agree.
const NOTICE: Duration = Duration::from_secs(1);

/// A device that the guest is asked for.
pub struct Asked {
    pub kind: Kind,
    pub id: String,
    pub slot: u8,
    /// Whether a driver of the guest's uses it.
    pub is_in_use: bool,
}

/// One whose end somebody waits for.
pub struct Unplug {
    pub device: Asked,
    due: Option<Instant>,
    reply: Waiting,
}

impl Unplug {
    /// Answers who waits for it.
    pub fn answer(self, outcome: Outcome) {
        (self.reply)(outcome);
    }
}

/// All that are asked for: at most one for each slot.
#[derive(Default)]
pub struct Unplugs(Vec<Unplug>);

impl Unplugs {
    /// The guest is asked for `device` from `now` on.
    pub fn begin(&mut self, device: Asked, now: Instant, reply: Waiting) {
        let due = now.checked_add(if device.is_in_use { PATIENCE } else { NOTICE });
        self.0.push(Unplug { device, due, reply });
    }

    /// Whether the guest is asked for the device in `slot`.
    pub fn has(&self, slot: u8) -> bool {
        self.0.iter().any(|unplug| unplug.device.slot == slot)
    }

    /// The one of `slot`, which is over.
    pub fn end(&mut self, slot: u8) -> Option<Unplug> {
        let at = self.0.iter().position(|unplug| unplug.device.slot == slot)?;
        Some(self.0.remove(at))
    }

    /// One whose time is up at `now`.
    pub fn overdue(&mut self, now: Instant) -> Option<Unplug> {
        let at = self.0.iter().position(|unplug| unplug.due.is_some_and(|due| due <= now))?;
        Some(self.0.remove(at))
    }

    /// It comes to its end by itself.
    pub fn await_end(&mut self, unplug: Unplug) {
        self.0.push(Unplug { due: None, ..unplug });
    }

    /// When to look next.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|unplug| unplug.due).min()
    }

    /// The machine ends with all its devices: there is nothing left to wait for.
    pub fn give_up(&mut self) {
        std::mem::take(&mut self.0).into_iter().for_each(|unplug| unplug.answer(Ok(Reply::Done)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: &str, slot: u8, is_in_use: bool) -> Asked {
        Asked { kind: Kind::Disk, id: id.into(), slot, is_in_use }
    }

    #[test]
    fn what_no_driver_uses_is_waited_for_less_long() {
        let (mut unplugs, now) = (Unplugs::default(), Instant::now());
        unplugs.begin(asked("used", 3, true), now, Box::new(drop));
        unplugs.begin(asked("idle", 4, false), now, Box::new(drop));
        assert!(unplugs.has(3) && unplugs.has(4) && !unplugs.has(5));
        assert_eq!(unplugs.due(), Some(now + NOTICE));
        let mut overdue = |after| unplugs.overdue(now + after).map(|unplug| unplug.device.slot);
        assert_eq!(overdue(Duration::ZERO), None);
        assert_eq!((overdue(NOTICE), overdue(NOTICE)), (Some(4), None));
        assert_eq!((overdue(PATIENCE), overdue(PATIENCE)), (Some(3), None));
        assert_eq!(unplugs.due(), None);
    }

    #[test]
    fn one_that_is_about_to_end_has_no_deadline() {
        let (mut unplugs, now) = (Unplugs::default(), Instant::now());
        unplugs.begin(asked("late", 3, true), now, Box::new(drop));
        let late = unplugs.overdue(now + PATIENCE).unwrap();
        unplugs.await_end(late);
        assert!(unplugs.has(3) && unplugs.due().is_none());
        assert!(unplugs.overdue(now + PATIENCE).is_none());
        assert_eq!(unplugs.end(3).map(|unplug| unplug.device.id), Some("late".into()));
        assert!(unplugs.end(3).is_none());
    }
}

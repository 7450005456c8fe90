//! What a controller does later: what is left of a guest's last day, keys pressed too early, a migration.

use std::time::{Duration, Instant};

use crate::action::Waiting;
use crate::end::End;
use crate::migration::outgoing::Outgoing;
use crate::snapshot::spec::CardIdentity;

/// Ctrl-Alt-Del pressed before the guest had a keyboard driver.
pub struct HeldKeys {
    due: Instant,
    end: Option<Instant>,
    had_driver: bool,
}

impl HeldKeys {
    const PERIOD: Duration = Duration::from_millis(500);
    /// A guest that has no driver after so long will have none.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// Keys that were asked for at `now`.
    pub fn since(now: Instant) -> HeldKeys {
        HeldKeys { due: now, end: now.checked_add(Self::PATIENCE), had_driver: false }
    }

    /// When to ask again.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether the keys have waited for too long.
    pub fn is_over(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| end <= now)
    }

    /// A driver turns the keyboard on shortly before it listens: it has to be there twice in a row.
    pub fn may_be_typed(&mut self, now: Instant, has_driver: bool) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now.checked_add(Self::PERIOD).unwrap_or(now);
        std::mem::replace(&mut self.had_driver, has_driver) && has_driver
    }
}

/// Cables that are pulled out once the machine goes on, and put in again when its guest has seen it.
pub struct Flap {
    /// The cards.
    ids: Vec<String>,
    /// When they are put in again, once they are out.
    due: Option<Instant>,
}

impl Flap {
    /// Linux tells its programs of a link that went down within a second.
    const DOWN: Duration = Duration::from_secs(2);

    /// Of these cards, if there are any.
    pub fn of(ids: Vec<String>) -> Option<Flap> {
        (!ids.is_empty()).then_some(Flap { ids, due: None })
    }

    /// Of those of these cards whose links are to go down, if there are any.
    pub fn of_cards(cards: Vec<CardIdentity>) -> Option<Flap> {
        Flap::of(cards.into_iter().filter(|card| card.flap).map(|card| card.id).collect())
    }

    /// The machine runs: the cards whose cables are to be out from `now` on, of those that `is_up` says have theirs
    /// in. None if that was done already.
    pub fn begin(&mut self, now: Instant, is_up: impl Fn(&str) -> bool) -> &[String] {
        if self.due.is_some() {
            return &[];
        }
        self.ids.retain(|id| is_up(id));
        self.due = now.checked_add(Self::DOWN);
        &self.ids
    }

    /// When they are put in again.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The cards whose cables are to be in from `now` on, if it is time.
    pub fn end(&self, now: Instant) -> Option<&[String]> {
        self.due.filter(|due| *due <= now).map(|_| &*self.ids)
    }
}

/// A machine on its way, and who waits to hear of it.
pub struct Migration {
    /// How far it is.
    pub outgoing: Outgoing,
    /// Takes the outcome.
    pub reply: Waiting,
}

/// A guest that still boots misses what it is told of its slots, and is told again.
pub struct Reminder {
    due: Option<Instant>,
    left: u8,
}

impl Reminder {
    const PERIOD: Duration = Duration::from_millis(500);
    /// A guest that has heard nothing after so many has no ears.
    const MOST: u8 = 120;

    /// What was told for the first time at `now`.
    pub fn since(now: Instant) -> Reminder {
        Reminder { due: now.checked_add(Self::PERIOD), left: Self::MOST }
    }

    /// When to tell again; not any more after many times.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.left > 0)
    }

    /// Whether to tell again now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        self.due = now.checked_add(Self::PERIOD);
        self.left -= 1;
        true
    }
}

/// What a guest has left to live after a signal.
#[derive(Default)]
pub struct LastDay {
    signal: Option<i32>,
    /// Until that has been told once.
    half: Option<Instant>,
    end: Option<Instant>,
}

impl LastDay {
    /// A signal asked for the end: the guest has `grace` from `now` on.
    pub fn begin(&mut self, signal: i32, now: Instant, grace: Duration) {
        let (half, end) = (now.checked_add(grace / 2), now.checked_add(grace));
        *self = LastDay { signal: Some(signal), half, end };
    }

    /// Whether a signal has come.
    pub fn began(&self) -> bool {
        self.signal.is_some()
    }

    /// When to look at it again.
    pub fn deadline(&self) -> Option<Instant> {
        self.half.or(self.end)
    }

    /// Says so once.
    pub fn is_half_over(&mut self, now: Instant) -> bool {
        self.half.take_if(|half| *half <= now).is_some()
    }

    /// How to end, once the grace is over.
    pub fn is_over(&self, now: Instant) -> Option<End> {
        (self.end? <= now).then_some(End::Signal(self.signal?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cables_are_out_for_a_while_once_and_those_that_were_out_stay_so() {
        let now = Instant::now();
        assert!(Flap::of(Vec::new()).is_none());
        let mut flap = Flap::of(vec!["a".into(), "b".into()]).unwrap();
        assert_eq!((flap.due(), flap.end(now)), (None, None), "it has not begun");
        assert_eq!(flap.begin(now, |id| id == "b"), ["b"]);
        assert_eq!(flap.begin(now, |_| true), [] as [String; 0]);
        assert_eq!(flap.end(now + Duration::from_millis(1999)), None);
        assert_eq!(flap.end(flap.due().unwrap()).unwrap(), ["b"]);
    }

    #[test]
    fn a_last_day_has_one_half_and_one_end() {
        let mut day = LastDay::default();
        let morning = Instant::now();
        let at = |seconds| morning + Duration::from_secs(seconds);
        assert!(!day.began() && day.deadline().is_none() && day.is_over(at(100)).is_none());
        day.begin(15, morning, Duration::from_secs(10));
        assert!(!day.is_half_over(at(4)));
        assert_eq!(day.deadline(), Some(at(5)));
        assert!(day.is_half_over(at(5)));
        assert!(!day.is_half_over(at(6)), "once");
        assert_eq!(day.deadline(), Some(at(10)));
        assert!(day.is_over(at(9)).is_none());
        assert!(matches!(day.is_over(at(10)), Some(End::Signal(15))));
    }

    #[test]
    fn a_guest_is_reminded_at_times_and_not_for_ever() {
        let begun = Instant::now();
        let mut reminder = Reminder::since(begun);
        assert!(!reminder.is_due(begun));
        for nth in 1..=u32::from(Reminder::MOST) {
            let due = reminder.due().unwrap();
            assert_eq!(due, begun + Reminder::PERIOD * nth);
            assert!(reminder.is_due(due) && !reminder.is_due(due));
        }
        assert_eq!(reminder.due(), None);
        assert!(!reminder.is_due(begun + Duration::from_secs(3600)));
    }

    #[test]
    fn held_keys_are_typed_when_a_driver_is_there_twice_in_a_row() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut keys = HeldKeys::since(begun);
        let tries =
            [(0, false), (10, true), (500, true), (1000, false), (1500, true), (1900, true)];
        for (ms, has_driver) in tries {
            assert!(!keys.may_be_typed(at(ms), has_driver), "at {ms} ms");
        }
        assert!(keys.may_be_typed(at(2000), true));
        assert!(!keys.is_over(at(119_000)));
        assert!(keys.is_over(at(120_000)));
    }
}

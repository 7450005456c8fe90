//! How long a lane looks for more from its guest before it sleeps, and when it lets what is for the guest gather.
//!
//! To sleep and be woken costs the guest an exit and the lane a way through the kernel. A guest that lately has sent soon
//! after it had received, or soon after it had sent, is likely to do so again; then it is met awake, and need not
//! kick. A lane with little to do, or of frames far apart, sleeps as if there were none of this. Requests for a disk are
//! sent, and their completions received.
//!
//! Frames to the guest that stream in would wake the lane one by one, which costs it, who sends them, and at times the
//! guest more than the frames themselves. Between such the lane rests, deaf for as long as cards in hardware hold an
//! interrupt back, and finds a handful at once. A guest that answers each is not in a stream.

use std::time::{Duration, Instant};

/// How long after its last work a lane goes on to look.
const WINDOW: Duration = Duration::from_micros(50);
/// How long it looks and does nothing else, before it offers its CPU to others: to offer it takes as long as a
/// guest that waits for an answer takes for its next request.
const GLANCE: Duration = Duration::from_micros(2);
/// Time between two turns that sent, from which on they are too far apart: latency is not to be bought with the time of
/// a lane that has next to nothing to do.
const FAR: Duration = Duration::from_micros(500);
/// From one turn to the next while frames to the guest gather.
const REST: Duration = Duration::from_micros(30);
/// Frames that a rest has to bring to be worth it.
const HANDFUL: u32 = 2;
/// Times that waiting was worth it, or would have been, less twice those it was not: enough to wait, and most that count.
const ENOUGH: u8 = 8;
const MOST: u8 = 16;

/// What a lane has moved in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the guest.
    pub out: bool,
    /// So many frames, or completions, to the guest.
    pub into: u32,
}

/// When the lane worked, and what came of it.
#[derive(Debug)]
pub struct Linger {
    /// It may be more than nothing.
    allowed: bool,
    worked: Option<(Instant, After)>,
    sent: Option<Instant>,
    /// How sure it is that the guest sends soon, after either.
    sure: [u8; 2],
    stream: Stream,
    /// Lets others have this CPU; for how long they had it.
    give_way: fn() -> Duration,
}

fn yield_once() -> Duration {
    let begun = Instant::now();
    std::thread::yield_now();
    begun.elapsed()
}

/// Frames to the guest that come without being answered.
#[derive(Debug, Default)]
struct Stream {
    last: Option<Instant>,
    /// How sure it is that there is more to come soon.
    sure: u8,
    /// More has come since the last rest.
    has_come: bool,
    rested: bool,
}

impl Stream {
    fn worked(&mut self, now: Instant, moved: Moved) {
        let rested = std::mem::take(&mut self.rested);
        self.has_come = moved.into > 0;
        let is_dense = if rested {
            moved.into >= HANDFUL
        } else if self.has_come {
            self.last.is_some_and(|then| now.saturating_duration_since(then) < WINDOW)
        } else {
            true
        };
        if self.has_come {
            self.last = Some(now);
        }
        self.sure = match is_dense && !moved.out {
            true => self.sure.saturating_add(self.has_come.into()).min(MOST),
            false => self.sure.saturating_sub(2),
        };
    }

    fn rest(&mut self) -> Option<Instant> {
        self.rested = std::mem::take(&mut self.has_come) && self.sure >= ENOUGH;
        self.last.filter(|_| self.rested)?.checked_add(REST)
    }
}

/// What the guest may follow up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Frames that it sent.
    Sending,
    /// Frames that it received, maybe besides.
    Receiving,
}

impl Linger {
    /// A lane that never lingers unless `allowed`: where nobody else could run meanwhile.
    pub fn new(allowed: bool) -> Linger {
        Linger {
            allowed,
            worked: None,
            sent: None,
            sure: [0; 2],
            stream: Stream::default(),
            give_way: yield_once,
        }
    }

    /// One on a host where nobody else wants a CPU.
    #[cfg(any(test, feature = "testing"))]
    pub fn alone() -> Linger {
        Linger { give_way: || Duration::ZERO, ..Linger::new(true) }
    }

    /// What the turn that began at `now` has moved.
    pub fn worked(&mut self, now: Instant, moved: Moved) {
        if !self.allowed {
            return;
        }
        self.stream.worked(now, moved);
        if moved == Moved::default() {
            return;
        }
        let within = |then, limit| now.saturating_duration_since(then) < limit;
        if moved.out {
            let near = self.sent.replace(now).is_some_and(|then| within(then, FAR));
            if let Some((then, after)) = self.worked
                && let Some(sure) = self.sure.get_mut(after as usize)
            {
                *sure = match near && within(then, WINDOW) {
                    true => sure.saturating_add(1).min(MOST),
                    false => sure.saturating_sub(2),
                };
            }
        }
        self.worked = Some((now, if moved.into > 0 { After::Receiving } else { After::Sending }));
    }

    /// Until when the lane lets frames to the guest gather before it looks again, if it does. Asked for once a turn, and
    /// kept.
    pub fn rest(&mut self) -> Option<Instant> {
        self.stream.rest()
    }

    /// Looks for a moment whether something is there; what came of it.
    pub fn glance(&self, mut is_there: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        loop {
            if is_there() {
                return true;
            }
            if begun.elapsed() >= GLANCE {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Gives this CPU to whoever waits for it, before another look.
    pub fn give_way(&mut self) {
        let took = (self.give_way)();
        self.gave_way(took);
    }

    /// Others had this CPU for so long. Who needs it for more than a moment gets it for long, whenever a lane that looks
    /// comes to offer it, and its guest, which was told not to kick, waits meanwhile; a lane that sleeps is woken at once.
    fn gave_way(&mut self, took: Duration) {
        if took >= WINDOW {
            self.sure = [0; 2];
        }
    }

    /// Whether the lane looks again instead of sleeping.
    pub fn goes_on(&self, now: Instant) -> bool {
        self.worked.is_some_and(|(then, after)| {
            now.saturating_duration_since(then) < WINDOW
                && self.sure.get(after as usize).is_some_and(|sure| *sure >= ENOUGH)
        })
    }
}

#[cfg(test)]
#[path = "linger_test.rs"]
mod tests;

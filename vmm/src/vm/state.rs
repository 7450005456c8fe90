//! The states of a machine and the one table of what may follow what.

use std::fmt;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing exists yet but the wish.
    Configuring,
    /// Built; vCPUs and devices rest.
    Paused,
    Running,
    /// Over, for good.
    Stopped,
}

/// What can happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Built,
    Resume,
    Pause,
    GuestOff,
    GuestReset,
    Stop,
    Fault,
}

/// A request that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible while the machine is {state:?}")]
pub struct NotAllowed {
    /// What the machine was doing.
    pub state: State,
    /// What was asked for.
    pub event: Event,
}

/// In the words of the API.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Configuring => "Not started",
            State::Paused => "Paused",
            State::Running => "Running",
            State::Stopped => "Stopped",
        })
    }
}

impl State {
    /// The state after `event`. Fails where the table has none.
    pub fn after(self, event: Event) -> Result<State, NotAllowed> {
        use Event::*;
        use State::*;
        Ok(match (self, event) {
            (Configuring, Built) => Paused,
            (Paused, Resume) => Running,
            (Running, Pause) => Paused,
            // What the guest did before it was paused may be heard after.
            (Paused | Running, GuestReset) => Paused,
            (Paused | Running, GuestOff | Stop | Fault) => Stopped,
            _ => return Err(NotAllowed { state: self, event }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_of_all_pairs_are_legal() {
        use Event::*;
        use State::*;
        let legal = [
            (Configuring, Built, Paused),
            (Paused, Resume, Running),
            (Running, Pause, Paused),
            (Running, GuestReset, Paused),
            (Paused, GuestReset, Paused),
            (Running, GuestOff, Stopped),
            (Paused, GuestOff, Stopped),
            (Paused, Stop, Stopped),
            (Running, Stop, Stopped),
            (Paused, Fault, Stopped),
            (Running, Fault, Stopped),
        ];
        for state in [Configuring, Paused, Running, Stopped] {
            for event in [Built, Resume, Pause, GuestOff, GuestReset, Stop, Fault] {
                let expected = legal
                    .iter()
                    .find(|(from, by, _)| (*from, *by) == (state, event))
                    .map(|(_, _, to)| *to)
                    .ok_or(NotAllowed { state, event });
                assert_eq!(state.after(event), expected);
            }
        }
    }
}

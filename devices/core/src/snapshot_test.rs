//! Tests of the frame that all saved states have.

use std::cell::Cell;

use serde_json::{Value, json};

use super::*;

/// A part of which version 1 kept a number of minutes, and version 2 keeps seconds.
#[derive(Default)]
struct Clock(Cell<u64>);

#[derive(Serialize, serde::Deserialize)]
struct State {
    seconds: u64,
    #[serde(default)]
    stopped: bool,
}

impl Snapshot for Clock {
    type State = State;
    const KIND: &'static str = "clock";
    const VERSION: u16 = 2;

    fn save(&self) -> State {
        State { seconds: self.0.get(), stopped: false }
    }

    fn load(&self, state: State) -> Result<(), LoadError> {
        if state.stopped {
            return Err(LoadError::field(Self::KIND, "stopped", "a clock never stops"));
        }
        self.0.set(state.seconds);
        Ok(())
    }

    fn upgrade(_from: u16, state: Value) -> Value {
        json!({ "seconds": state["minutes"].as_u64().unwrap_or(0) * 60 })
    }
}

fn load(kind: &str, version: u16, state: Value) -> Result<u64, String> {
    let clock = Clock::default();
    let saved = Saved { kind: kind.to_string(), version, state };
    clock.load_saved(&saved).map(|()| clock.0.get()).map_err(|error| error.to_string())
}

#[test]
fn what_was_saved_comes_back() {
    let saved = Clock(Cell::new(7)).to_saved().unwrap();
    let text = serde_json::to_string(&saved).unwrap();
    let saved: Saved = serde_json::from_str(&text).unwrap();
    assert_eq!(load(&saved.kind, saved.version, saved.state), Ok(7));
}

#[test]
fn an_old_form_is_brought_up_to_date_and_a_newer_one_refused() {
    assert_eq!(load("clock", 1, json!({ "minutes": 2 })), Ok(120));
    let newer = load("clock", 3, json!({ "seconds": 2 })).unwrap_err();
    assert_eq!(newer, "the state of the clock has version 3; this vmm knows 2 and older");
}

#[test]
fn what_is_not_ours_or_cannot_be_is_refused_by_name() {
    let other = load("watch", 2, json!({ "seconds": 2 })).unwrap_err();
    assert_eq!(other, "the state is that of a watch, not of a clock");
    let form = load("clock", 2, json!({ "seconds": -2 })).unwrap_err();
    assert!(form.starts_with("the state of the clock is not of version 2: "), "{form}");
    let field = load("clock", 2, json!({ "seconds": 2, "stopped": true })).unwrap_err();
    assert_eq!(field, "stopped of the clock cannot be: a clock never stops");
}

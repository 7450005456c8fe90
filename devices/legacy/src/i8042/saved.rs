//! What of controller and keyboard outlives their process.

use std::time::{Duration, Instant};

use device_core::snapshot::{LoadError, Snapshot, blob};
use serde::{Deserialize, Serialize};

use super::{Core, I8042, KEYBOARD_FIFO, Keyboard, Next, SILENT_DRIVER, Told};

/// Cells of the controller's RAM.
const CELLS: usize = 32;

/// Controller and keyboard between two accesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct I8042State {
    /// The controller's RAM; its first byte is the configuration.
    #[serde(with = "blob")]
    pub ram: [u8; CELLS],
    /// Who gets the next byte written to the data port.
    pub next: Next,
    /// The last write was a command.
    pub last_was_command: bool,
    /// The controller's own answer, not read yet.
    pub answer: Option<u8>,
    /// For how long a driver has had the keyboard's interrupt on, in milliseconds; counted to 3000.
    pub driven_ms: Option<u64>,
    /// Bytes that the keyboard holds, the oldest first; up to 16.
    #[serde(with = "blob")]
    pub keys: Vec<u8>,
    /// The keyboard reports its keys.
    pub scanning: bool,
    /// What a driver has told the keyboard.
    pub told: Told,
    /// The keyboard's command whose parameter comes next.
    pub awaits: Option<u8>,
}

/// A state is loaded after the interrupt controllers', for a byte that waits is announced once more.
impl Snapshot for I8042 {
    type State = I8042State;
    const KIND: &'static str = "i8042";
    const VERSION: u16 = 1;

    fn save(&self) -> I8042State {
        let now = Instant::now();
        let driven = |since| now.saturating_duration_since(since).min(SILENT_DRIVER).as_millis();
        self.with_core(|core| I8042State {
            ram: core.ram,
            next: core.next,
            last_was_command: core.last_was_command,
            answer: core.answer,
            driven_ms: core.driven_since.map(|since| u64::try_from(driven(since)).unwrap_or(0)),
            keys: core.keyboard.fifo.iter().copied().collect(),
            scanning: core.keyboard.scanning,
            told: core.keyboard.told,
            awaits: core.keyboard.awaits,
        })
    }

    fn load(&self, state: I8042State) -> Result<(), LoadError> {
        let refuse = |field, why: &str| Err(LoadError::field(I8042::KIND, field, why));
        if matches!(state.next, Next::Ram(cell) if usize::from(cell) >= CELLS) {
            return refuse("next", "the controller has no such cell");
        }
        if state.keys.len() > KEYBOARD_FIFO {
            return refuse("keys", "the keyboard has no room for them");
        }
        if !matches!(state.awaits, None | Some(0xed | 0xf0 | 0xf3)) {
            return refuse("awaits", "that command has no parameter");
        }
        let driven = state.driven_ms.map(Duration::from_millis);
        if driven.is_some_and(|driven| driven > SILENT_DRIVER) {
            return refuse("driven_ms", "it is not counted so far");
        }
        let now = Instant::now();
        // A host that has not run for so long has no such instant: the driver is given its time anew.
        let since = driven.map(|driven| now.checked_sub(driven).unwrap_or(now));
        self.with_core(|core| {
            *core = Core {
                ram: state.ram,
                next: state.next,
                last_was_command: state.last_was_command,
                answer: state.answer,
                keyboard: Keyboard {
                    fifo: state.keys.into(),
                    scanning: state.scanning,
                    told: state.told,
                    awaits: state.awaits,
                },
                driven_since: since,
                interrupt: false,
                reset: false,
            };
            core.announce_key();
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_test.rs"]
mod tests;

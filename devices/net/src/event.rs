//! What happens to a card, for who wants to hear of it at once.

use serde::Serialize;

use crate::control::inspect::Reset;
use crate::spec::Fault;

/// Hears of [`NicEvent`]s.
pub type Listener = Box<dyn Fn(NicEvent) + Send + Sync>;

/// Something that happened to a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum NicEvent {
    /// The guest's driver has its first queues at work.
    DriverReady,
    /// The guest's driver has reset the card.
    Reset(Reset),
    /// The card stopped working by an error, until its driver resets it.
    Failed,
    /// The link as the guest sees it.
    Link {
        /// Whether it is up now.
        up: bool,
    },
    /// Something goes wrong on purpose.
    Fault {
        /// What it is.
        fault: Fault,
    },
    /// The capture ended by itself.
    CaptureEnded,
}

//! Faults that a user plans for a card, so that a driver's recovery can be rehearsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// No keep-alives any more.
    StopKeepAlive,
    /// The next admin command stays without an answer.
    NoAnswer,
    /// Some transmitted frames are never completed.
    SwallowTx,
    /// A transmit completion names a request that there is not.
    WrongTxId,
    /// The card asks to be reset.
    RequestReset,
}

impl FaultKind {
    const ALL: [(&'static str, FaultKind); 5] = [
        ("stop-keep-alive", FaultKind::StopKeepAlive),
        ("no-answer", FaultKind::NoAnswer),
        ("swallow-tx", FaultKind::SwallowTx),
        ("wrong-tx-id", FaultKind::WrongTxId),
        ("request-reset", FaultKind::RequestReset),
    ];
}

/// One fault, once in a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    pub kind: FaultKind,
    /// Seconds after the driver brought the card up for the first time. A card that is down then
    /// has its fault as soon as it is up again.
    #[serde(default)]
    pub after_s: u32,
}

/// Why a text is no [`Rehearsal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRehearsal {
    #[error("known are {}", Known)]
    Kind,
    #[error("write whole seconds behind '@', such as stop-keep-alive@5")]
    Seconds,
}

/// All kinds, for people.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = FaultKind::ALL.map(|(name, _)| name);
        f.write_str(&names.join(", "))
    }
}

/// The command line's form: `KIND` or `KIND@SECONDS`.
impl FromStr for Rehearsal {
    type Err = BadRehearsal;

    fn from_str(text: &str) -> Result<Rehearsal, BadRehearsal> {
        let (name, seconds) = text.split_once('@').unwrap_or((text, "0"));
        let known = FaultKind::ALL.into_iter().find(|(known, _)| *known == name);
        let (_, kind) = known.ok_or(BadRehearsal::Kind)?;
        let after_s = seconds.parse().map_err(|_| BadRehearsal::Seconds)?;
        Ok(Rehearsal { kind, after_s })
    }
}

//! What goes wrong with a card on purpose, so that a driver's recovery can be rehearsed: one word for
//! each fault, on the command line, in JSON, in the log and in events.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing to go wrong. All end with the driver's reset that follows; its reasons are those of ENA
/// drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No keep-alives: the driver resets with reason 1.
    StopKeepAlive,
    /// No answer to the next admin command: reason 2.
    NoAnswer,
    /// No completions of this many transmitted frames: reason 3 if it is more than 128, and else
    /// 10 once a queue stands still.
    SwallowTx(u32),
    /// A request id that no frame has in the next transmit completion: reason 5.
    WrongTxId,
    /// The card asks to be reset: reason 19 from drivers that know the event.
    RequestReset,
    /// The fatal state: all queues stop, and so do keep-alives.
    Fatal,
}

/// Swallowed if no number is given: more than Linux puts up with, and less than fills its ring, so
/// that the reset is for the missing completions and not for a queue that stands still.
pub const SWALLOWED: u32 = 256;

/// Each fault by its word, and by an older one that is still taken.
const WORDS: [(Fault, &str, Option<&str>); 6] = [
    (Fault::StopKeepAlive, "stop-keep-alive", None),
    (Fault::NoAnswer, "no-answer", None),
    (Fault::SwallowTx(SWALLOWED), "swallow-tx", Some("swallow-tx-completions")),
    (Fault::WrongTxId, "wrong-tx-id", Some("wrong-tx-request-id")),
    (Fault::RequestReset, "request-reset", None),
    (Fault::Fatal, "fatal", None),
];

/// A word that names no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("known are {Known}")]
pub struct UnknownFault;

/// All words, for people.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&WORDS.map(|(_, word, _)| word).join(", "))
    }
}

impl Fault {
    /// The word for it, on every surface.
    pub fn word(&self) -> &'static str {
        let same = std::mem::discriminant(self);
        let row = WORDS.iter().find(|(fault, ..)| std::mem::discriminant(fault) == same);
        row.map_or("", |(_, word, _)| word)
    }
}

/// As everywhere but in JSON: the word, and the number behind a colon.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::SwallowTx(frames) => write!(f, "{}:{frames}", self.word()),
            _ => f.write_str(self.word()),
        }
    }
}

/// `_` is as good as `-`, and so are old words.
impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Fault, UnknownFault> {
        let (word, number) = match text.split_once(':') {
            Some((word, number)) => (word, Some(number.parse().map_err(|_| UnknownFault)?)),
            None => (text, None),
        };
        let word = word.replace('_', "-");
        let row = WORDS.iter().find(|(_, new, old)| *new == word || *old == Some(&*word));
        match (row.ok_or(UnknownFault)?.0, number) {
            (Fault::SwallowTx(usual), number) => Ok(Fault::SwallowTx(number.unwrap_or(usual))),
            (fault, None) => Ok(fault),
            (_, Some(_)) => Err(UnknownFault),
        }
    }
}

/// The word, or an object of the word and its number.
impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Fault::SwallowTx(frames) => serializer.collect_map([(self.word(), frames)]),
            _ => serializer.serialize_str(self.word()),
        }
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
        deserializer.deserialize_any(Worded)
    }
}

/// Who reads a fault from JSON.
struct Worded;

impl<'de> Visitor<'de> for Worded {
    type Value = Fault;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Fault, E> {
        let plain = (!word.contains(':')).then(|| word.parse().ok()).flatten();
        plain.ok_or_else(|| E::custom(format!("{word:?} is no fault; {UnknownFault}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Fault, A::Error> {
        let one = || A::Error::custom("one fault and its number are expected");
        let word: String = fields.next_key()?.ok_or_else(one)?;
        let fault = match self.visit_str(&word)? {
            Fault::SwallowTx(_) => Fault::SwallowTx(fields.next_value()?),
            _ => return Err(A::Error::custom(format!("{word:?} has no number"))),
        };
        match fields.next_key::<String>()? {
            None => Ok(fault),
            Some(_) => Err(one()),
        }
    }
}

/// One fault, once in a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// What goes wrong.
    pub kind: Fault,
    /// Seconds after the driver brought the card up for the first time. A card that is down then
    /// has its fault as soon as it is up again.
    #[serde(default)]
    pub after_s: u32,
}

/// Why a text is no [`Rehearsal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRehearsal {
    /// The word names no fault.
    #[error(transparent)]
    Kind(#[from] UnknownFault),
    /// What follows `@` is no whole number of seconds.
    #[error("write whole seconds behind '@', such as stop-keep-alive@5")]
    Seconds,
}

/// The command line's form: `KIND` or `KIND@SECONDS`.
impl FromStr for Rehearsal {
    type Err = BadRehearsal;

    fn from_str(text: &str) -> Result<Rehearsal, BadRehearsal> {
        let (kind, seconds) = text.split_once('@').unwrap_or((text, "0"));
        let kind = kind.parse()?;
        let after_s = seconds.parse().map_err(|_| BadRehearsal::Seconds)?;
        Ok(Rehearsal { kind, after_s })
    }
}

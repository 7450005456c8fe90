//! The command line's form of a card.

use std::fmt;
use std::os::fd::RawFd;
use std::str::FromStr;

use device_core::rate::Quota;

use super::{BackendSpec, Key, Model, Mover, NicSpec, Rehearsal};
use crate::mac::MacAddr;
use crate::stage::limiter::Allowed;

/// Why a text describes no card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// A part that is no key and value.
    #[error("{0:?} has no '='; write key=value")]
    NoValue(String),
    /// A key that does not exist.
    #[error("unknown key {0:?}; known are {Known}")]
    UnknownKey(String),
    /// A key that may be given once.
    #[error("{0} is given twice")]
    Twice(Key),
    /// A value that its key cannot have.
    #[error("{key}={value}: {why}")]
    Value {
        /// What it was said of.
        key: Key,
        /// The text as given.
        value: String,
        /// What is wrong with it, in words.
        why: String,
    },
    /// It is not said where frames go.
    #[error("none of tap, dev and fd is given; say where frames go, such as tap=tap0")]
    NoBackend,
    /// It is said twice where frames go.
    #[error("tap, dev and fd exclude each other")]
    TwoBackends,
}

/// All keys, for people.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Key::ALL.map(|(_, word)| word).join(", "))
    }
}

/// The command line's form: `tap=tap0,queues=2,mac=02:00:00:00:00:01`, `dev=veth0`, or
/// `fd=3:4,queues=2`.
/// Without `id` the id is empty, and the caller must name the card; without `queues` there are as
/// many as descriptors.
impl FromStr for NicSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<NicSpec, ParseSpecError> {
        let mut given = Given::default();
        for part in text.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| ParseSpecError::NoValue(part.to_string()))?;
            // A word may be written as in JSON.
            let word = key.replace('_', "-");
            let known = Key::ALL.into_iter().find(|(_, known)| *known == word);
            let (key, _) = known.ok_or_else(|| ParseSpecError::UnknownKey(key.to_string()))?;
            match key {
                Key::Tap => put(key, &mut given.tap, value.to_string())?,
                Key::Dev => put(key, &mut given.dev, value.to_string())?,
                Key::Fd => put(key, &mut given.fds, parse_fds(value)?)?,
                Key::Backend => put(key, &mut given.mover, parse_mover(value)?)?,
                Key::Model => put(key, &mut given.model, parse_model(value)?)?,
                Key::Mac => put(key, &mut given.mac, parse(Key::Mac, value)?)?,
                Key::Queues => put(key, &mut given.queues, parse(Key::Queues, value)?)?,
                Key::Mtu => put(key, &mut given.mtu, parse(Key::Mtu, value)?)?,
                Key::Id => put(key, &mut given.id, value.to_string())?,
                Key::BwIn => put(key, &mut given.limits.bw_in, quota(key, value)?)?,
                Key::BwOut => put(key, &mut given.limits.bw_out, quota(key, value)?)?,
                Key::Pps => put(key, &mut given.limits.pps, quota(key, value)?)?,
                Key::Conntrack => {
                    let most = u32::try_from(number(key, value)?);
                    let most = most.map_err(|_| bad(key, value, "it is too large"))?;
                    put(key, &mut given.limits.conntrack, most)?;
                }
                Key::Llq => put(key, &mut given.llq, on_or_off(key, value)?)?,
                Key::Fault => given.faults.push(parse(Key::Fault, value)?),
            }
        }
        given.into_spec()
    }
}

#[derive(Default)]
struct Given {
    tap: Option<String>,
    dev: Option<String>,
    fds: Option<Vec<RawFd>>,
    mover: Option<Mover>,
    model: Option<Model>,
    mac: Option<MacAddr>,
    queues: Option<u16>,
    mtu: Option<u16>,
    id: Option<String>,
    limits: Allowed,
    llq: Option<bool>,
    /// The only key that may come more than once.
    faults: Vec<Rehearsal>,
}

impl Given {
    fn into_spec(self) -> Result<NicSpec, ParseSpecError> {
        let (backend, queues) = match (self.tap, self.dev, self.fds) {
            (Some(name), None, None) => (BackendSpec::Tap(name), 1),
            (None, Some(name), None) => (BackendSpec::Dev(name), 1),
            (None, None, Some(fds)) => {
                let count = u16::try_from(fds.len()).unwrap_or(u16::MAX);
                (BackendSpec::Fd(fds), count)
            }
            (None, None, None) => return Err(ParseSpecError::NoBackend),
            _ => return Err(ParseSpecError::TwoBackends),
        };
        Ok(NicSpec {
            id: self.id.unwrap_or_default(),
            backend,
            mover: self.mover.unwrap_or_default(),
            model: self.model.unwrap_or_default(),
            mac: self.mac,
            queues: self.queues.unwrap_or(queues),
            mtu: self.mtu,
            limits: self.limits,
            llq: self.llq,
            faults: self.faults,
            outside: None,
        })
    }
}

fn put<T>(key: Key, place: &mut Option<T>, value: T) -> Result<(), ParseSpecError> {
    match place.replace(value) {
        Some(_) => Err(ParseSpecError::Twice(key)),
        None => Ok(()),
    }
}

fn parse<T: FromStr>(key: Key, value: &str) -> Result<T, ParseSpecError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|why: T::Err| bad(key, value, &why.to_string()))
}

fn bad(key: Key, value: &str, why: &str) -> ParseSpecError {
    ParseSpecError::Value { key, value: value.to_string(), why: why.to_string() }
}

fn quota(key: Key, value: &str) -> Result<Quota, ParseSpecError> {
    device_core::per_second::quota(value).map_err(|why| bad(key, value, &why.to_string()))
}

fn number(key: Key, value: &str) -> Result<u64, ParseSpecError> {
    device_core::per_second::parse(value).map_err(|why| bad(key, value, &why.to_string()))
}

fn on_or_off(key: Key, value: &str) -> Result<bool, ParseSpecError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(bad(key, value, "write on or off")),
    }
}

fn parse_fds(value: &str) -> Result<Vec<RawFd>, ParseSpecError> {
    value.split(':').map(|fd| parse(Key::Fd, fd)).collect()
}

fn parse_mover(value: &str) -> Result<Mover, ParseSpecError> {
    match value {
        "vmm" => Ok(Mover::Vmm),
        "vhost" => Ok(Mover::Vhost),
        _ => Err(bad(Key::Backend, value, "known are vmm and vhost")),
    }
}

fn parse_model(value: &str) -> Result<Model, ParseSpecError> {
    match value {
        "virtio" => Ok(Model::Virtio),
        "ena" => Ok(Model::Ena),
        _ => Err(bad(Key::Model, value, "known are virtio and ena")),
    }
}

//! What a user may say about a network card, for any model.

mod rehearsal;

use std::os::fd::RawFd;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;
use crate::stage::limiter::Allowed;

pub use rehearsal::{BadRehearsal, FaultKind, Rehearsal};

/// Most queue pairs of one card; what a TAP may have (Linux, MAX_TAP_QUEUES is 256) with one
/// interrupt vector for each ring and room for others.
pub const MAX_QUEUES: u16 = 64;
/// Smallest and largest MTU: IPv4's minimum (RFC 791), and what a 16-bit length can say.
pub const MTU_RANGE: std::ops::RangeInclusive<u16> = 68..=65_535;
/// The same for an ENA card: what its drivers take, and what it announces.
pub const ENA_MTU_RANGE: std::ops::RangeInclusive<u16> = 128..=9216;
/// Longest name of a host interface (Linux, IFNAMSIZ with its terminator).
const MAX_IFACE: usize = 15;
/// Longest id of a card; it becomes part of a thread's name.
const MAX_ID: usize = 64;

/// One network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    /// Unique in the machine; letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// The host's side of the cable.
    pub backend: BackendSpec,
    #[serde(default)]
    pub model: Model,
    /// The card's address; random and locally administered if not given.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Queue pairs.
    #[serde(default = "one")]
    pub queues: u16,
    /// Largest packet behind the Ethernet header; the TAP's if not given.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// What the card may do at most.
    #[serde(default)]
    pub limits: Allowed,
    /// Whether an ENA card offers low-latency queues; it does if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llq: Option<bool>,
    /// What an ENA card does wrong, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Rehearsal>,
}

/// Where frames come from and go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendSpec {
    /// A TAP by name; made if it does not exist.
    Tap(String),
    /// An open TAP, one descriptor for each queue.
    Fd(Vec<RawFd>),
}

/// What the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// A virtio network card.
    #[default]
    Virtio,
    /// Amazon's Elastic Network Adapter.
    Ena,
}

/// What is wrong with a [`NicSpec`]; each names its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("id {0:?} is not usable; take 1 to {MAX_ID} letters, digits, '_', '-' or '.'")]
    Id(String),
    #[error(
        "tap name {0:?} is not usable; take 1 to {MAX_IFACE} characters without '/', ':', '%' or blanks"
    )]
    TapName(String),
    #[error("fd {0} is given twice; each queue needs a descriptor of its own")]
    FdTwice(RawFd),
    #[error("fd {0} cannot be a tap; descriptors begin at 3")]
    FdTooLow(RawFd),
    #[error("{fds} descriptors in fd, but queues is {queues}; give one for each queue")]
    FdCount { fds: usize, queues: u16 },
    #[error("mac {0} is a group address or zero; a card needs an address of its own")]
    Mac(MacAddr),
    #[error("queues is {0}; a card has 1 to {MAX_QUEUES}")]
    Queues(u16),
    #[error("mtu is {0}; it must be {min} to {max}", min = MTU_RANGE.start(), max = MTU_RANGE.end())]
    Mtu(u16),
    #[error("mtu is {0}; an ena card has {min} to {max}", min = ENA_MTU_RANGE.start(), max = ENA_MTU_RANGE.end())]
    EnaMtu(u16),
    #[error("{0} is only for model=ena")]
    OnlyEna(&'static str),
    #[error("{0:?} has no '='; write key=value")]
    NoValue(String),
    #[error(
        "unknown key {0:?}; known are tap, fd, model, mac, queues, mtu, id, bw-in, bw-out, pps, conntrack, llq, fault"
    )]
    UnknownKey(String),
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("{key}={value}: {why}")]
    Value { key: &'static str, value: String, why: String },
    #[error("neither tap nor fd is given; say where frames go, such as tap=tap0")]
    NoBackend,
    #[error("tap and fd exclude each other")]
    TwoBackends,
}

fn one() -> u16 {
    1
}

impl NicSpec {
    /// A card with defaults on the TAP `tap`.
    pub fn on_tap(id: &str, tap: &str) -> NicSpec {
        NicSpec {
            id: id.to_string(),
            backend: BackendSpec::Tap(tap.to_string()),
            model: Model::Virtio,
            mac: None,
            queues: 1,
            mtu: None,
            limits: Allowed::default(),
            llq: None,
            faults: Vec::new(),
        }
    }

    /// Checks every field by itself and against the others.
    pub fn validate(&self) -> Result<(), SpecError> {
        let id_char = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.id.is_empty() || self.id.len() > MAX_ID || !self.id.chars().all(id_char) {
            return Err(SpecError::Id(self.id.clone()));
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(SpecError::Queues(self.queues));
        }
        match &self.backend {
            BackendSpec::Tap(name) => check_tap_name(name)?,
            BackendSpec::Fd(fds) => self.check_fds(fds)?,
        }
        if let Some(mac) = self.mac.filter(|mac| !mac.is_valid_for_a_card()) {
            return Err(SpecError::Mac(mac));
        }
        if self.model != Model::Ena {
            let only_ena = [("fault", !self.faults.is_empty()), ("llq", self.llq.is_some())];
            if let Some((key, _)) = only_ena.into_iter().find(|(_, given)| *given) {
                return Err(SpecError::OnlyEna(key));
            }
        }
        match (self.mtu, self.model) {
            (Some(mtu), _) if !MTU_RANGE.contains(&mtu) => Err(SpecError::Mtu(mtu)),
            (Some(mtu), Model::Ena) if !ENA_MTU_RANGE.contains(&mtu) => Err(SpecError::EnaMtu(mtu)),
            _ => Ok(()),
        }
    }

    fn check_fds(&self, fds: &[RawFd]) -> Result<(), SpecError> {
        if fds.len() != usize::from(self.queues) {
            return Err(SpecError::FdCount { fds: fds.len(), queues: self.queues });
        }
        for (at, fd) in fds.iter().enumerate() {
            if *fd <= 2 {
                return Err(SpecError::FdTooLow(*fd));
            }
            if fds.iter().take(at).any(|other| other == fd) {
                return Err(SpecError::FdTwice(*fd));
            }
        }
        Ok(())
    }
}

fn check_tap_name(name: &str) -> Result<(), SpecError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    let dots = name == "." || name == "..";
    if name.is_empty() || name.len() > MAX_IFACE || dots || name.chars().any(bad) {
        return Err(SpecError::TapName(name.to_string()));
    }
    Ok(())
}

/// The command line's form: `tap=tap0,queues=2,mac=02:00:00:00:00:01`, or `fd=3:4,queues=2`.
/// Without `id` the id is empty, and the caller must name the card; without `queues` there are as
/// many as descriptors.
impl FromStr for NicSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<NicSpec, SpecError> {
        let mut given = Given::default();
        for part in text.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| SpecError::NoValue(part.to_string()))?;
            match key {
                "tap" => put("tap", &mut given.tap, value.to_string())?,
                "fd" => put("fd", &mut given.fds, parse_fds(value)?)?,
                "model" => put("model", &mut given.model, parse_model(value)?)?,
                "mac" => put("mac", &mut given.mac, parse("mac", value)?)?,
                "queues" => put("queues", &mut given.queues, parse("queues", value)?)?,
                "mtu" => put("mtu", &mut given.mtu, parse("mtu", value)?)?,
                "id" => put("id", &mut given.id, value.to_string())?,
                "bw-in" => put("bw-in", &mut given.limits.bw_in, rate("bw-in", value)?)?,
                "bw-out" => put("bw-out", &mut given.limits.bw_out, rate("bw-out", value)?)?,
                "pps" => put("pps", &mut given.limits.pps, rate("pps", value)?)?,
                "conntrack" => {
                    let most = rate("conntrack", value)?;
                    let most = u32::try_from(most).unwrap_or(u32::MAX);
                    put("conntrack", &mut given.limits.conntrack, most)?;
                }
                "llq" => put("llq", &mut given.llq, on_or_off("llq", value)?)?,
                "fault" => given.faults.push(parse("fault", value)?),
                other => return Err(SpecError::UnknownKey(other.to_string())),
            }
        }
        given.into_spec()
    }
}

#[derive(Default)]
struct Given {
    tap: Option<String>,
    fds: Option<Vec<RawFd>>,
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
    fn into_spec(self) -> Result<NicSpec, SpecError> {
        let (backend, queues) = match (self.tap, self.fds) {
            (Some(name), None) => (BackendSpec::Tap(name), 1),
            (None, Some(fds)) => {
                let count = u16::try_from(fds.len()).unwrap_or(u16::MAX);
                (BackendSpec::Fd(fds), count)
            }
            (None, None) => return Err(SpecError::NoBackend),
            (Some(_), Some(_)) => return Err(SpecError::TwoBackends),
        };
        Ok(NicSpec {
            id: self.id.unwrap_or_default(),
            backend,
            model: self.model.unwrap_or_default(),
            mac: self.mac,
            queues: self.queues.unwrap_or(queues),
            mtu: self.mtu,
            limits: self.limits,
            llq: self.llq,
            faults: self.faults,
        })
    }
}

fn put<T>(key: &'static str, place: &mut Option<T>, value: T) -> Result<(), SpecError> {
    match place.replace(value) {
        Some(_) => Err(SpecError::Twice(key)),
        None => Ok(()),
    }
}

fn parse<T: FromStr>(key: &'static str, value: &str) -> Result<T, SpecError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|why: T::Err| SpecError::Value {
        key,
        value: value.to_string(),
        why: why.to_string(),
    })
}

/// A number per second, with a decimal point and a unit of thousands: `500M`, `2.5G`.
fn rate(key: &'static str, value: &str) -> Result<u64, SpecError> {
    let bad = |why: &str| SpecError::Value { key, value: value.to_string(), why: why.to_string() };
    let (number, zeros) = match value.char_indices().last() {
        Some((at, 'k' | 'K')) => (value.get(..at), 3),
        Some((at, 'M')) => (value.get(..at), 6),
        Some((at, 'G')) => (value.get(..at), 9),
        Some((at, 'T')) => (value.get(..at), 12),
        _ => (Some(value), 0usize),
    };
    let form = || bad("write a number and perhaps k, M, G or T, such as 2.5G");
    let (whole, part) = match number.unwrap_or_default().split_once('.') {
        Some((whole, part)) if !part.is_empty() => (whole, part.trim_end_matches('0')),
        Some(_) => return Err(form()),
        None => (number.unwrap_or_default(), ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > zeros {
        return Err(form());
    }
    let text = format!("{whole}{part}{}", "0".repeat(zeros.saturating_sub(part.len())));
    match text.parse() {
        Ok(0) => Err(bad("0 would let nothing through; leave it out for no limit")),
        Ok(rate) => Ok(rate),
        Err(_) => Err(bad("it is too large")),
    }
}

fn on_or_off(key: &'static str, value: &str) -> Result<bool, SpecError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(SpecError::Value {
            key,
            value: value.to_string(),
            why: "write on or off".to_string(),
        }),
    }
}

fn parse_fds(value: &str) -> Result<Vec<RawFd>, SpecError> {
    value.split(':').map(|fd| parse("fd", fd)).collect()
}

fn parse_model(value: &str) -> Result<Model, SpecError> {
    match value {
        "virtio" => Ok(Model::Virtio),
        "ena" => Ok(Model::Ena),
        _ => Err(SpecError::Value {
            key: "model",
            value: value.to_string(),
            why: "known are virtio and ena".to_string(),
        }),
    }
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;

//! What a user may say about a network card, for any model.

mod parse;
mod rehearsal;

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use device_core::device::{MAX_ID, is_usable_id};
use device_core::options;
use device_core::rate;
use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;
use crate::stage::limiter::Allowed;

pub use parse::ParseSpecError;
pub use rehearsal::{Fault, Rehearsal, SWALLOWED, UnknownFault};

/// Most queue pairs of one card; what a TAP may have (Linux, MAX_TAP_QUEUES is 256) with one
/// interrupt vector for each ring and room for others.
pub const MAX_QUEUES: u16 = 64;
/// Smallest and largest MTU: IPv4's minimum (RFC 791), and what a 16-bit length can say.
pub const MTU_RANGE: std::ops::RangeInclusive<u16> = 68..=65_535;
/// The same for an ENA card: what its drivers take, and what it announces.
pub const ENA_MTU_RANGE: std::ops::RangeInclusive<u16> = 128..=9216;
/// Longest name of a host interface (Linux, IFNAMSIZ with its terminator).
const MAX_IFACE: usize = 15;

/// One network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    /// Unique in the machine; letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// The host's side of the cable.
    pub backend: BackendSpec,
    /// Who moves frames between the card's rings and the host's side.
    #[serde(default, skip_serializing_if = "Mover::is_vmm")]
    pub mover: Mover,
    /// What the guest sees.
    #[serde(default)]
    pub model: Model,
    /// The card's address; random and locally administered if not given.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Queue pairs.
    #[serde(default = "one")]
    pub queues: u16,
    /// Largest packet in bytes behind the Ethernet header; if not given, the host's for a virtio card and
    /// the largest of [`ENA_MTU_RANGE`] for an ENA card.
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
    /// Addresses that the wire sees in place of the guest's; the same if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
}

/// Addresses that the wire sees in place of the guest's ([`crate::stage::rewrite`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// In place of the card's address.
    pub mac: MacAddr,
    /// In place of the guest's IPv4 address; that one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// The guest's IPv4 address; if not given, that which its frames had shown when it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_ip: Option<Ipv4Addr>,
}

/// Where frames come from and go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendSpec {
    /// A TAP by name; made if it does not exist.
    Tap(String),
    /// An Ethernet interface of the host by name, such as one end of a veth pair.
    Dev(String),
    /// An open TAP, one descriptor for each queue.
    Fd(Vec<RawFd>),
}

/// Who moves frames between a card's rings and the host's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mover {
    /// Lanes of this process.
    #[default]
    Vmm,
    /// The host's kernel (vhost-net): it reads the guest's rings itself, and no frame comes by us.
    Vhost,
}

impl Mover {
    /// Whether it is what is meant if nothing is said.
    pub fn is_vmm(&self) -> bool {
        *self == Mover::Vmm
    }
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

/// One thing that a user says about a card. Each surface has a word of its own for it; the command
/// line's is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Name of a TAP.
    Tap,
    /// Name of an Ethernet interface.
    Dev,
    /// Descriptors of an open TAP.
    Fd,
    /// Who moves frames.
    Backend,
    /// What the guest sees.
    Model,
    /// The card's address.
    Mac,
    /// Queue pairs.
    Queues,
    /// Largest packet, in bytes.
    Mtu,
    /// The card's name.
    Id,
    /// Bits per second to the guest.
    BwIn,
    /// Bits per second from the guest.
    BwOut,
    /// Packets per second, both ways together.
    Pps,
    /// Connections tracked at once.
    Conntrack,
    /// Whether there are low-latency queues.
    Llq,
    /// What goes wrong on purpose.
    Fault,
}

impl Key {
    /// All, and their words on the command line.
    pub const ALL: [(Key, &'static str); 15] = [
        (Key::Tap, "tap"),
        (Key::Dev, "dev"),
        (Key::Fd, "fd"),
        (Key::Backend, "backend"),
        (Key::Model, "model"),
        (Key::Mac, "mac"),
        (Key::Queues, "queues"),
        (Key::Mtu, "mtu"),
        (Key::Id, "id"),
        (Key::BwIn, "bw-in"),
        (Key::BwOut, "bw-out"),
        (Key::Pps, "pps"),
        (Key::Conntrack, "conntrack"),
        (Key::Llq, "llq"),
        (Key::Fault, "fault"),
    ];
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(options::word(self, &Key::ALL))
    }
}

/// What is wrong with a [`NicSpec`]: the reason alone, as each surface has its own word for the
/// [`SpecError::key`] that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No usable name of a card.
    #[error("{0:?} is not usable; take 1 to {MAX_ID} letters, digits, '_', '-' or '.'")]
    Id(String),
    /// No usable name of a TAP.
    #[error(
        "{0:?} is no name of a tap; take 1 to {MAX_IFACE} characters without '/', ':', '%' or blanks"
    )]
    TapName(String),
    /// No usable name of an interface.
    #[error(
        "{0:?} is no name of an interface; take 1 to {MAX_IFACE} characters without '/', ':', '%' or blanks"
    )]
    DevName(String),
    /// A descriptor comes more than once.
    #[error("{0} is given twice; each queue needs a descriptor of its own")]
    FdTwice(RawFd),
    /// Standard input, output or error, or none at all.
    #[error("{0} cannot be a tap; descriptors begin at 3")]
    FdTooLow(RawFd),
    /// Descriptors and queue pairs differ in number.
    #[error("there are {fds} descriptors, and queues are {queues}; give one descriptor for each")]
    FdCount {
        /// Descriptors given.
        fds: usize,
        /// Queue pairs asked for.
        queues: u16,
    },
    /// No address of a single card.
    #[error("{0} is a group address or zero; a card needs an address of its own")]
    Mac(MacAddr),
    /// No address of a single card, for outside.
    #[error("outside: {0} is a group address or zero; a card needs an address of its own")]
    OutsideMac(MacAddr),
    /// No address of a single machine.
    #[error("outside: {0} is not one machine's address")]
    OutsideIp(Ipv4Addr),
    /// The guest's address without one to take its place.
    #[error("outside: the guest's IPv4 address has none to take its place")]
    OutsideNoIp,
    /// More queue pairs than a card has, or none.
    #[error("{0} queue pairs; a card has 1 to {MAX_QUEUES}")]
    Queues(u16),
    /// Out of [`MTU_RANGE`].
    #[error("{0} is not possible; it must be {min} to {max}", min = MTU_RANGE.start(), max = MTU_RANGE.end())]
    Mtu(u16),
    /// Out of [`ENA_MTU_RANGE`].
    #[error("{0} is not possible; an ena card has {min} to {max}", min = ENA_MTU_RANGE.start(), max = ENA_MTU_RANGE.end())]
    EnaMtu(u16),
    /// A limit of 0.
    #[error("{}", rate::NOTHING)]
    NoConnections,
    /// Something that only an ENA card has, of another model.
    #[error("only a card of model ena has it")]
    OnlyEna(Key),
    /// Rings that the kernel does not know.
    #[error(
        "vhost is for model=virtio: the kernel knows no rings of an ena card, so leave backend=vhost out"
    )]
    VhostEna,
    /// A host's side that the kernel's vhost-net is not given here.
    #[error("vhost is for taps: give tap or fd in place of dev, or leave backend=vhost out")]
    VhostDev,
    /// Other addresses on the wire, of a card without lanes.
    #[error(
        "outside: the vmm exchanges addresses in frames, and with backend=vhost these pass it by; leave \
         identity=rewrite or backend=vhost out"
    )]
    VhostOutside,
    /// What a lane does to frames, of a card without lanes.
    #[error(
        "it is the vmm's to keep, and with backend=vhost frames pass it by; give one of them only"
    )]
    ByVmmOnly(Key),
}

impl SpecError {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            SpecError::Id(_) => Key::Id,
            SpecError::TapName(_) => Key::Tap,
            SpecError::DevName(_) => Key::Dev,
            SpecError::FdTwice(_) | SpecError::FdTooLow(_) | SpecError::FdCount { .. } => Key::Fd,
            SpecError::Mac(_)
            | SpecError::OutsideMac(_)
            | SpecError::OutsideIp(_)
            | SpecError::OutsideNoIp
            | SpecError::VhostOutside => Key::Mac,
            SpecError::Queues(_) => Key::Queues,
            SpecError::Mtu(_) | SpecError::EnaMtu(_) => Key::Mtu,
            SpecError::NoConnections => Key::Conntrack,
            SpecError::OnlyEna(key) | SpecError::ByVmmOnly(key) => *key,
            SpecError::VhostEna | SpecError::VhostDev => Key::Backend,
        }
    }
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
            mover: Mover::Vmm,
            model: Model::Virtio,
            mac: None,
            queues: 1,
            mtu: None,
            limits: Allowed::default(),
            llq: None,
            faults: Vec::new(),
            outside: None,
        }
    }

    /// Checks every field by itself and against the others. Fails with what is found wrong first.
    pub fn validate(&self) -> Result<(), SpecError> {
        if !is_usable_id(&self.id) {
            return Err(SpecError::Id(self.id.clone()));
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(SpecError::Queues(self.queues));
        }
        match &self.backend {
            BackendSpec::Tap(name) if !is_iface_name(name) => {
                return Err(SpecError::TapName(name.clone()));
            }
            BackendSpec::Dev(name) if !is_iface_name(name) => {
                return Err(SpecError::DevName(name.clone()));
            }
            BackendSpec::Tap(_) | BackendSpec::Dev(_) => {}
            BackendSpec::Fd(fds) => self.check_fds(fds)?,
        }
        if let Some(mac) = self.mac.filter(|mac| !mac.is_valid_for_a_card()) {
            return Err(SpecError::Mac(mac));
        }
        if let Some(outside) = &self.outside {
            outside.validate()?;
        }
        if self.limits.conntrack == Some(0) {
            return Err(SpecError::NoConnections);
        }
        if self.model != Model::Ena {
            let only_ena = [(Key::Fault, !self.faults.is_empty()), (Key::Llq, self.llq.is_some())];
            if let Some((key, _)) = only_ena.into_iter().find(|(_, given)| *given) {
                return Err(SpecError::OnlyEna(key));
            }
        }
        self.check_mover()?;
        match (self.mtu, self.model) {
            (Some(mtu), _) if !MTU_RANGE.contains(&mtu) => Err(SpecError::Mtu(mtu)),
            (Some(mtu), Model::Ena) if !ENA_MTU_RANGE.contains(&mtu) => Err(SpecError::EnaMtu(mtu)),
            _ => Ok(()),
        }
    }

    fn check_mover(&self) -> Result<(), SpecError> {
        if self.mover == Mover::Vmm {
            return Ok(());
        }
        if self.model == Model::Ena {
            return Err(SpecError::VhostEna);
        }
        if let BackendSpec::Dev(_) = self.backend {
            return Err(SpecError::VhostDev);
        }
        if self.outside.is_some() {
            return Err(SpecError::VhostOutside);
        }
        let Allowed { bw_in, bw_out, pps, pps_in, pps_out, conntrack } = self.limits;
        let limits = [
            (Key::BwIn, bw_in.is_some()),
            (Key::BwOut, bw_out.is_some()),
            (Key::Pps, pps.or(pps_in).or(pps_out).is_some()),
            (Key::Conntrack, conntrack.is_some()),
        ];
        match limits.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(SpecError::ByVmmOnly(key)),
            None => Ok(()),
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

impl Outside {
    /// Checks the addresses. Fails with the first that cannot be.
    pub fn validate(&self) -> Result<(), SpecError> {
        if !self.mac.is_valid_for_a_card() {
            return Err(SpecError::OutsideMac(self.mac));
        }
        let is_many = |ip: &Ipv4Addr| ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified();
        if let Some(ip) = self.ip.into_iter().chain(self.guest_ip).find(is_many) {
            return Err(SpecError::OutsideIp(ip));
        }
        match (self.ip, self.guest_ip) {
            (None, Some(_)) => Err(SpecError::OutsideNoIp),
            _ => Ok(()),
        }
    }
}

/// Whether an interface of the host may have that name (Linux, dev_valid_name).
pub fn is_iface_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    let dots = name == "." || name == "..";
    (1..=MAX_IFACE).contains(&name.len()) && !dots && !name.chars().any(bad)
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;

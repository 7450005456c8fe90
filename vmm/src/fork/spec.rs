//! What can be asked of a fork, and what each child gets of it.

use std::path::{Path, PathBuf};

use devices::block::spec::DiskSpec;
use devices::net::mac::MacAddr;
use devices::net::spec::{BackendSpec, NicSpec};
use serde::{Deserialize, Serialize};

use super::error::ForkError;
use crate::snapshot::spec::{CardIdentity, OtherImage, Rewritten};

/// Children that one request may have.
pub const MOST_CHILDREN: u32 = 1000;
/// What stands for the number of a child.
pub const NUMBER: &str = "{n}";
/// Longest name of an interface (linux/if.h).
const MOST_INTERFACE: usize = 15;
/// Longest path of a socket (linux/un.h).
const MOST_SOCKET: usize = 107;

/// Children of a machine. [`NUMBER`] in a text is each child's own; what is not given is made from what the machine
/// itself has, with the number behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkSpec {
    /// How many.
    pub count: u32,
    /// Number of the first.
    pub first: u32,
    /// Whether they run at once.
    pub resume: bool,
    /// Their names.
    pub id: Option<String>,
    /// Sockets of their APIs.
    pub api_socket: Option<String>,
    /// TAPs of their cards, by the cards' ids.
    pub taps: Vec<(String, String)>,
    /// What networks see of their cards, where that is to differ; an IPv4 address is the first child's, and each next one's
    /// is one higher.
    pub identities: Vec<CardIdentity>,
    /// Images of their disks that are written, by the disks' ids.
    pub images: Vec<(String, String)>,
    /// Sockets of their vsocks.
    pub vsock: Option<String>,
    /// Where their serial consoles go; nowhere, if not given.
    pub serial: Option<String>,
    /// Files of their logs; where the machine's goes, if not given.
    pub log: Option<String>,
    /// Whether they can have children themselves.
    pub forks: bool,
}

/// In what one child differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChildSpec {
    /// Its name.
    pub id: String,
    /// Socket of its API.
    pub api_socket: PathBuf,
    /// TAPs of its cards, by the cards' ids; all of them.
    pub taps: Vec<(String, String)>,
    /// What the network sees of its cards, where that is to differ.
    pub identities: Vec<CardIdentity>,
    /// Images of its disks that are written; all of them.
    pub images: Vec<OtherImage>,
    /// Socket of its vsock, if it has one.
    pub vsock: Option<PathBuf>,
    /// Where its serial console goes.
    pub serial: Option<String>,
    /// File of its log.
    pub log: Option<PathBuf>,
    /// Whether it can have children.
    #[serde(default)]
    pub forks: bool,
}

/// What a machine has that its children cannot share with it.
pub struct Parent<'a> {
    /// Its name.
    pub id: &'a str,
    /// Socket of its API.
    pub api_socket: &'a Path,
    /// Its cards.
    pub nics: &'a [NicSpec],
    /// Its disks.
    pub disks: &'a [DiskSpec],
    /// Socket of its vsock, if it has one.
    pub vsock: Option<&'a Path>,
}

impl ForkSpec {
    /// The children of a machine. Fails if two of them, or one and the machine, would share what is one's own.
    pub fn children(&self, parent: &Parent<'_>) -> Result<Vec<ChildSpec>, ForkError> {
        if !(1..=MOST_CHILDREN).contains(&self.count) {
            return Err(refused("count", format!("a fork has 1 to {MOST_CHILDREN} children")));
        }
        if self.first.checked_add(self.count).is_none() {
            return Err(refused("first", "the numbers of children end before the last".into()));
        }
        let named = self.taps.iter().map(|(id, _)| id);
        for id in named.chain(self.identities.iter().map(|identity| &identity.id)) {
            if !parent.nics.iter().any(|nic| nic.id == *id) {
                let why = format!("the machine has no network card {id:?}");
                return Err(refused("network_overrides", why));
            }
        }
        for nic in parent.nics {
            let wanted = self.identities.iter().filter(|wanted| wanted.id == nic.id);
            for wanted in wanted {
                let unasked = |why| refused("network_overrides", format!("{:?}: {why}", nic.id));
                wanted.check(nic.model).map_err(unasked)?;
            }
        }
        for (id, _) in &self.images {
            if !parent.disks.iter().any(|disk| disk.id == *id && !disk.read_only) {
                let why = format!("the machine has no disk {id:?} that is written");
                return Err(refused("drive_overrides", why));
            }
        }
        if self.vsock.is_some() && parent.vsock.is_none() {
            return Err(refused("vsock_override", "the machine has no vsock".into()));
        }
        let id = self.text("id", self.id.as_deref(), || format!("{}-{NUMBER}", parent.id))?;
        let beside = |path: &Path| format!("{}.{NUMBER}", path.display());
        let given = self.api_socket.as_deref();
        let api_socket = self.text("api_socket", given, || beside(parent.api_socket))?;
        let vsock = match parent.vsock {
            None => None,
            Some(path) => {
                Some(self.text("vsock_override", self.vsock.as_deref(), || beside(path))?)
            }
        };
        let serial = self.serial.as_deref().filter(|place| *place != "none" && *place != "stdio");
        let serial = serial.map(|place| self.text("serial", Some(place), String::new));
        let serial = serial.transpose()?;
        let taps: Vec<_> = parent.nics.iter().map(|nic| self.tap(nic)).collect::<Result<_, _>>()?;
        let written = parent.disks.iter().filter(|disk| !disk.read_only);
        let images: Vec<_> = written.map(|disk| self.image(disk)).collect::<Result<_, _>>()?;
        // Copies of images have what is below those too.
        let own = |id: &str, path: String| {
            let disk = parent.disks.iter().find(|disk| disk.id == id);
            let bases = disk.map(|disk| disk.bases.clone()).unwrap_or_default();
            OtherImage { id: id.to_string(), path: path.into(), bases }
        };
        let child = |number: u32| {
            let text = |text: &str| text.replace(NUMBER, &number.to_string());
            let identities = self.identities.iter();
            let identities = identities
                .map(|identity| self.identity(identity, number.saturating_sub(self.first)));
            let child = ChildSpec {
                id: text(&id),
                api_socket: text(&api_socket).into(),
                taps: taps.iter().map(|(id, tap)| (id.clone(), text(tap))).collect(),
                identities: identities.collect::<Result<_, _>>()?,
                images: images.iter().map(|(id, path)| own(id, text(path))).collect(),
                vsock: vsock.as_deref().map(|path| text(path).into()),
                serial: serial.as_deref().map(text),
                log: self.log.as_deref().map(|path| text(path).into()),
                forks: self.forks,
            };
            child.check().map(|()| child)
        };
        (self.first..self.first.saturating_add(self.count)).map(child).collect()
    }

    /// A text that tells children from one another.
    fn text(
        &self,
        field: &str,
        given: Option<&str>,
        made: impl FnOnce() -> String,
    ) -> Result<String, ForkError> {
        let Some(given) = given else { return Ok(made()) };
        if self.count > 1 && !given.contains(NUMBER) {
            let why = format!("children cannot share it; put {NUMBER} where their number goes");
            return Err(refused(field, why));
        }
        Ok(given.to_string())
    }

    /// What the network sees of a card of the child that has so many before it.
    fn identity(&self, wanted: &CardIdentity, before: u32) -> Result<CardIdentity, ForkError> {
        let wrong =
            |why: &str| Err(refused("network_overrides", format!("{:?}: {why}", wanted.id)));
        let mut identity = wanted.clone();
        let Some(Rewritten { mac, ip, .. }) = &mut identity.rewrite else { return Ok(identity) };
        if self.count > 1 && mac.is_some() {
            return wrong("children cannot share the mac; without it each has a random one");
        }
        mac.get_or_insert_with(MacAddr::random);
        if let Some(ip) = ip {
            let Some(its) = ip.to_bits().checked_add(before) else {
                return wrong("addresses end before the last child's");
            };
            *ip = its.into();
        }
        Ok(identity)
    }

    fn image(&self, disk: &DiskSpec) -> Result<(String, String), ForkError> {
        let given = self.images.iter().find(|(id, _)| *id == disk.id);
        let given = given.map(|(_, path)| path.as_str());
        let beside = || format!("{}.{NUMBER}", disk.path.display());
        Ok((disk.id.clone(), self.text("drive_overrides", given, beside)?))
    }

    fn tap(&self, nic: &NicSpec) -> Result<(String, String), ForkError> {
        const FIELD: &str = "network_overrides";
        let given = self.taps.iter().find(|(id, _)| *id == nic.id).map(|(_, tap)| tap.as_str());
        let tap = match (&nic.backend, given) {
            (BackendSpec::Tap(tap), None) => format!("{tap}-{NUMBER}"),
            (BackendSpec::Tap(tap), Some(given)) if tap == given => {
                let why = format!("{tap} is what the machine itself has; name another TAP");
                return Err(refused(FIELD, why));
            }
            (_, Some(given)) => self.text(FIELD, Some(given), String::new)?,
            (_, None) => {
                let why = format!("card {:?} is not on a TAP; name one for the children", nic.id);
                return Err(refused(FIELD, why));
            }
        };
        Ok((nic.id.clone(), tap))
    }
}

impl ChildSpec {
    fn check(&self) -> Result<(), ForkError> {
        let id = &self.id;
        let fits = (1..=64).contains(&id.len());
        if !fits || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let why = format!("{id:?} is no name; take 1 to 64 letters, digits and '-'");
            return Err(refused("id", why));
        }
        for (field, path) in
            [("api_socket", Some(&self.api_socket)), ("vsock_override", self.vsock.as_ref())]
        {
            let Some(path) = path else { continue };
            let len = path.as_os_str().len();
            if !(1..=MOST_SOCKET).contains(&len) {
                let why = format!(
                    "{} has {len} bytes, and a socket's path 1 to {MOST_SOCKET}",
                    path.display()
                );
                return Err(refused(field, why));
            }
        }
        match self.taps.iter().find(|(_, tap)| tap.is_empty() || tap.len() > MOST_INTERFACE) {
            None => Ok(()),
            Some((id, tap)) => {
                let why = format!(
                    "{tap:?} is no name of an interface (1 to {MOST_INTERFACE} bytes); name TAPs for card {id:?}"
                );
                Err(refused("network_overrides", why))
            }
        }
    }
}

fn refused(field: &str, why: String) -> ForkError {
    ForkError::Spec { field: field.to_string(), why }
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;

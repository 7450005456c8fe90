//! `/snapshot/create` and `/snapshot/load`.

use std::net::Ipv4Addr;

use devices::net::mac::MacAddr;
use serde::{Deserialize, Serialize};

use super::drives::paths;
use super::{BodyError, bad};
use crate::memory::Pages;
use crate::snapshot::spec::{CardIdentity, CreateSpec, LoadSpec, OtherImage, PagerSpec, Rewritten};

/// What to write of the machine, which must be paused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Host path of the file with the state; one that is there is replaced.
    pub snapshot_path: String,
    /// Host path of the file with the memory; one that is there is replaced.
    pub mem_file_path: String,
    /// All of the machine, if not given.
    #[serde(default)]
    pub snapshot_type: SnapshotType,
}

/// How much of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum SnapshotType {
    /// All of its memory.
    #[default]
    Full,
    /// What has changed since the last snapshot; in a file that has that, all that it has as it is now.
    Diff,
}

/// What to make a machine from.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotLoad {
    /// Host path of the file with the state.
    pub snapshot_path: String,
    /// Where the memory is.
    #[serde(default)]
    pub mem_backend: Option<MemoryBackend>,
    /// Deprecated: host path of the file with the memory.
    #[serde(default)]
    pub mem_file_path: Option<String>,
    /// Whether it is written down, beside the memory's file, which pages are used first; they are then fetched ahead
    /// whenever it is loaded again.
    #[serde(default)]
    pub record: bool,
    /// Whether pages that the guest writes to are tracked from now on.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// Deprecated: as `track_dirty_pages`.
    #[serde(default)]
    pub enable_diff_snapshots: bool,
    /// Whether the machine runs at once; it is paused if not given.
    #[serde(default)]
    pub resume_vm: bool,
    /// TAPs in place of those that the cards had.
    #[serde(default)]
    pub network_overrides: Vec<NetworkOverride>,
    /// Images in place of those that the disks had.
    #[serde(default)]
    pub drive_overrides: Vec<DriveOverride>,
    /// The vsock's socket in place of the one that it had.
    #[serde(default)]
    pub vsock_override: Option<VsockOverride>,
    /// Whether the guest's clocks go on with the time that passed. If not given: it does, or not where
    /// Firecracker's command line is spoken.
    #[serde(default)]
    pub clock_realtime: Option<bool>,
    /// The same in a word, for its time-stamp counter too; not beside `clock_realtime`.
    #[serde(default)]
    pub clock: Option<Clock>,
    /// What the host backs the memory with.
    #[serde(default)]
    pub huge_pages: HugePagesOverride,
}

/// How the guest's clocks go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// With the time that passed.
    Advance,
    /// From where they were.
    Freeze,
}

/// Where memory is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryBackend {
    pub backend_type: BackendType,
    /// Host path of the file, or of the socket.
    pub backend_path: String,
}

/// Who has the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum BackendType {
    /// The file that was written.
    File,
    /// A process that serves page faults, by its Unix socket.
    Uffd,
    /// The file that was written, by a thread that serves page faults.
    Own,
}

/// Another TAP for a card, and what the network is to see of it.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct NetworkOverride {
    pub iface_id: String,
    pub host_dev_name: String,
    /// Whether the wire sees other addresses than the guest has.
    #[serde(default)]
    pub identity: Option<IdentityOverride>,
    /// With `identity`: the address in place of the card's; a random one if not given.
    #[serde(default)]
    #[cfg_attr(test, schema(
        value_type = Option<String>,
        pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
        examples("02:00:00:00:00:07"),
    ))]
    pub mac: Option<MacAddr>,
    /// With `identity`: the IPv4 address in place of the guest's; that one if not given.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Option<String>, format = "ipv4"))]
    pub ip: Option<Ipv4Addr>,
    /// With `identity`: the guest's IPv4 address; what its frames had shown if not given.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Option<String>, format = "ipv4"))]
    pub guest_ip: Option<Ipv4Addr>,
    /// Whether the guest sees its link go down and come again.
    #[serde(default)]
    pub link: Option<LinkOverride>,
    /// What the card's driver is asked to do once the machine goes on.
    #[serde(default)]
    pub driver: Option<DriverOverride>,
}

/// What becomes of the addresses of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum IdentityOverride {
    /// The guest keeps them, and the wire sees others.
    Rewrite,
}

/// What becomes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LinkOverride {
    /// It goes down for two seconds.
    Flap,
}

/// What a card's driver is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriverOverride {
    /// It resets the card, which is of model `ena`.
    Reset,
}

impl NetworkOverride {
    /// What the network sees of the card, if that is to differ. Fails for addresses without a use.
    pub fn identity(&self) -> Result<Option<CardIdentity>, BodyError> {
        let Self { mac, ip, guest_ip, .. } = *self;
        let given =
            [("mac", mac.is_some()), ("ip", ip.is_some()), ("guest_ip", guest_ip.is_some())];
        let idle = given.into_iter().find(|(_, given)| *given && self.identity.is_none());
        if let Some((field, _)) = idle {
            return Err(bad(field, "it is of no use without identity, which is rewrite"));
        }
        let rewrite =
            self.identity.map(|IdentityOverride::Rewrite| Rewritten { mac, ip, guest_ip });
        let flap = self.link == Some(LinkOverride::Flap);
        let reset = self.driver == Some(DriverOverride::Reset);
        let differs = rewrite.is_some() || flap || reset;
        Ok(differs.then(|| CardIdentity { id: self.iface_id.clone(), rewrite, flap, reset }))
    }
}

/// Another image for a disk.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DriveOverride {
    pub drive_id: String,
    pub path_on_host: String,
    /// What is below the image, if that is an overlay, as for a disk.
    #[serde(default)]
    pub base_paths_on_host: Vec<String>,
}

impl From<DriveOverride> for OtherImage {
    fn from(disk: DriveOverride) -> OtherImage {
        let DriveOverride { drive_id: id, path_on_host, base_paths_on_host } = disk;
        OtherImage { id, path: path_on_host.into(), bases: paths(base_paths_on_host) }
    }
}

/// Another socket for the vsock.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VsockOverride {
    pub uds_path: String,
}

/// What the host is to back the memory with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum HugePagesOverride {
    /// What it was.
    #[default]
    Snapshot,
    /// Usual pages.
    None,
    /// Usual pages, and huge ones where the host likes.
    Transparent,
    /// Pages of 2 MiB; a memory file cannot be mapped into them: they are for `Uffd` and `Own`.
    #[serde(rename = "2M")]
    TwoMiB,
}

impl From<SnapshotCreate> for CreateSpec {
    fn from(body: SnapshotCreate) -> CreateSpec {
        CreateSpec {
            state: body.snapshot_path.into(),
            memory: body.mem_file_path.into(),
            is_diff: body.snapshot_type == SnapshotType::Diff,
        }
    }
}

impl TryFrom<SnapshotLoad> for LoadSpec {
    type Error = BodyError;

    fn try_from(body: SnapshotLoad) -> Result<LoadSpec, BodyError> {
        const EITHER: &str = "either `mem_backend` or `mem_file_path`";
        let refused = |why| Err(BodyError::Json(why));
        let (memory, pager) = match (body.mem_backend, body.mem_file_path) {
            (None, None) => return refused(format!("missing field: {EITHER} is required")),
            (Some(_), Some(_)) => {
                return refused(format!("too many fields: {EITHER} exclusively is required"));
            }
            (Some(MemoryBackend { backend_type, backend_path }), None) => {
                let pager = match backend_type {
                    // Only who brings each page sees it used.
                    BackendType::File if body.record => PagerSpec::Own,
                    BackendType::File => PagerSpec::Kernel,
                    BackendType::Own => PagerSpec::Own,
                    BackendType::Uffd => PagerSpec::External,
                };
                (backend_path, pager)
            }
            (None, Some(path)) if body.record => (path, PagerSpec::Own),
            (None, Some(path)) => (path, PagerSpec::Kernel),
        };
        let advance = match (body.clock, body.clock_realtime) {
            (Some(_), Some(_)) => {
                return Err(bad("clock", "clock_realtime says it too; take one of the two"));
            }
            (Some(clock), None) => Some(clock == Clock::Advance),
            (None, realtime) => realtime,
        };
        if body.record && pager == PagerSpec::External {
            let why = "what another process brings is not written down here; take File or Own";
            return Err(bad("record", why));
        }
        if body.huge_pages == HugePagesOverride::TwoMiB && pager == PagerSpec::Kernel {
            let why = "a memory file cannot be mapped into huge pages; take another value";
            return Err(bad("huge_pages", why));
        }
        let identities = body.network_overrides.iter().map(NetworkOverride::identity);
        let identities = identities.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let taps = body.network_overrides.into_iter();
        let images = body.drive_overrides.into_iter();
        Ok(LoadSpec {
            state: body.snapshot_path.into(),
            memory: memory.into(),
            track: body.track_dirty_pages || body.enable_diff_snapshots,
            pager,
            pages: match body.huge_pages {
                HugePagesOverride::Snapshot => None,
                HugePagesOverride::None | HugePagesOverride::Transparent => Some(Pages::Small),
                HugePagesOverride::TwoMiB => Some(Pages::Huge),
            },
            record: body.record,
            resume: body.resume_vm,
            taps: taps.map(|card| (card.iface_id, card.host_dev_name)).collect(),
            identities,
            images: images.map(Into::into).collect(),
            vsock: body.vsock_override.map(|vsock| vsock.uds_path.into()),
            advance,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dialect::read;

    fn load(text: &str) -> Result<LoadSpec, String> {
        let body = read::<SnapshotLoad>(text.as_bytes()).map_err(|error| error.to_string())?;
        LoadSpec::try_from(body).map_err(|error| error.to_string())
    }

    #[test]
    fn a_snapshot_is_loaded_from_a_file_with_what_is_different() {
        let spec = load(
            r#"{"snapshot_path":"s","mem_backend":{"backend_type":"File","backend_path":"m"},
                "resume_vm":true,"network_overrides":[{"iface_id":"eth0","host_dev_name":"tap7"}],
                "drive_overrides":[{"drive_id":"d","path_on_host":"other","base_paths_on_host":["gold"]}],
                "vsock_override":{"uds_path":"v"},"clock_realtime":false}"#,
        );
        let spec = spec.unwrap();
        assert_eq!((spec.state, spec.memory), ("s".into(), "m".into()));
        assert_eq!((spec.resume, spec.advance), (true, Some(false)));
        assert_eq!(spec.taps, [("eth0".to_string(), "tap7".to_string())]);
        let other = OtherImage {
            id: "d".to_string(),
            path: PathBuf::from("other"),
            bases: vec![PathBuf::from("gold")],
        };
        assert_eq!(spec.images, [other]);
        assert_eq!(spec.vsock, Some("v".into()));
    }

    #[test]
    fn clocks_advance_or_are_frozen_and_nobody_says_it_twice() {
        let advance = |more: &str| {
            let text = format!(r#"{{"snapshot_path":"s","mem_file_path":"m"{more}}}"#);
            load(&text).map(|spec| spec.advance)
        };
        assert_eq!(advance(""), Ok(None));
        assert_eq!(advance(r#","clock":"advance""#), Ok(Some(true)));
        assert_eq!(advance(r#","clock":"freeze""#), Ok(Some(false)));
        let both = advance(r#","clock":"freeze","clock_realtime":false"#).unwrap_err();
        assert!(both.contains("take one of the two"), "{both}");
        assert!(advance(r#","clock":"stop""#).is_err());
    }

    #[test]
    fn a_card_has_other_addresses_on_the_wire_if_it_is_said_that_it_is_to() {
        let of = |more: &str| {
            load(&format!(
                r#"{{"snapshot_path":"s","mem_file_path":"m","network_overrides":[
                    {{"iface_id":"eth0","host_dev_name":"tap7"{more}}}]}}"#
            ))
        };
        assert_eq!(of("").unwrap().identities, []);
        let more =
            r#","identity":"rewrite","mac":"02:00:00:00:00:07","ip":"10.0.0.7","link":"flap""#;
        let rewrite = Rewritten {
            mac: Some(MacAddr([2, 0, 0, 0, 0, 7])),
            ip: Some(Ipv4Addr::new(10, 0, 0, 7)),
            guest_ip: None,
        };
        let eth0 = CardIdentity { id: "eth0".into(), ..CardIdentity::default() };
        let wanted = CardIdentity { rewrite: Some(rewrite), flap: true, ..eth0.clone() };
        assert_eq!(of(more).unwrap().identities, [wanted]);
        let wanted = CardIdentity { reset: true, ..eth0 };
        assert_eq!(of(r#","driver":"reset""#).unwrap().identities, [wanted]);
        assert!(of(r#","driver":"none""#).unwrap_err().contains("driver"));
        assert!(of(r#","ip":"10.0.0.7""#).unwrap_err().contains("ip"));
        assert!(of(r#","identity":"keep""#).unwrap_err().contains("identity"));
    }

    #[test]
    fn memory_is_named_once_and_what_is_not_there_is_refused_by_its_name() {
        let error = |text: &str| load(text).unwrap_err();
        assert!(error(r#"{"snapshot_path":"s"}"#).contains("missing field: either"));
        let file = r#""mem_backend":{"backend_type":"File","backend_path":"m"}"#;
        let both = format!(r#"{{"snapshot_path":"s","mem_file_path":"m",{file}}}"#);
        assert!(error(&both).contains("too many fields: either"));
        for (more, name) in
            [(r#""huge_pages":"2M""#, "huge_pages"), (r#""page_server":1"#, "page_server")]
        {
            let text = format!(r#"{{"snapshot_path":"s",{file},{more}}}"#);
            assert!(error(&text).contains(name), "{}", error(&text));
        }
        let uffd = |more: &str| {
            let backend = r#""mem_backend":{"backend_type":"Uffd","backend_path":"m"}"#;
            format!(r#"{{"snapshot_path":"s",{backend}{more}}}"#)
        };
        assert!(error(&uffd(r#","record":true"#)).contains("take File or Own"));
        let spec = load(&uffd(r#","huge_pages":"2M""#)).unwrap();
        assert_eq!((spec.pager, spec.pages), (PagerSpec::External, Some(Pages::Huge)));
        let recorded = format!(r#"{{"snapshot_path":"s",{file},"record":true}}"#);
        let spec = load(&recorded).unwrap();
        assert_eq!((spec.pager, spec.pages, spec.record), (PagerSpec::Own, None, true));
        let diff = r#"{"snapshot_path":"s","mem_file_path":"m","snapshot_type":"Diff"}"#;
        let diff = read::<SnapshotCreate>(diff.as_bytes()).unwrap();
        assert!(CreateSpec::from(diff).is_diff);
        for name in ["track_dirty_pages", "enable_diff_snapshots"] {
            let text = format!(r#"{{"snapshot_path":"s",{file},"{name}":true}}"#);
            assert!(load(&text).unwrap().track, "{name}");
        }
    }
}

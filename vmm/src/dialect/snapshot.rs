//! `/snapshot/create` and `/snapshot/load`.

use serde::{Deserialize, Serialize};

use super::{BodyError, bad};
use crate::memory::Pages;
use crate::snapshot::spec::{CreateSpec, LoadSpec, PagerSpec};

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
    /// What has changed; not here yet, and refused.
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
    /// Not here yet: refused if it is true.
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
    /// Whether the guest's kvm-clock goes on with the time that passed. If not given: it does, or not where
    /// Firecracker's command line is spoken.
    #[serde(default)]
    pub clock_realtime: Option<bool>,
    /// What the host backs the memory with.
    #[serde(default)]
    pub huge_pages: HugePagesOverride,
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

/// Another TAP for a card.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct NetworkOverride {
    pub iface_id: String,
    pub host_dev_name: String,
}

/// Another image for a disk.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DriveOverride {
    pub drive_id: String,
    pub path_on_host: String,
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

impl TryFrom<SnapshotCreate> for CreateSpec {
    type Error = BodyError;

    fn try_from(body: SnapshotCreate) -> Result<CreateSpec, BodyError> {
        if body.snapshot_type == SnapshotType::Diff {
            return Err(bad("snapshot_type", "Diff does not exist here yet; take Full"));
        }
        Ok(CreateSpec { state: body.snapshot_path.into(), memory: body.mem_file_path.into() })
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
        if body.record && pager == PagerSpec::External {
            let why = "what another process brings is not written down here; take File or Own";
            return Err(bad("record", why));
        }
        if body.track_dirty_pages || body.enable_diff_snapshots {
            let why = "there are no snapshots of differences here yet; leave it out";
            return Err(bad("track_dirty_pages", why));
        }
        if body.huge_pages == HugePagesOverride::TwoMiB && pager == PagerSpec::Kernel {
            let why = "a memory file cannot be mapped into huge pages; take another value";
            return Err(bad("huge_pages", why));
        }
        let taps = body.network_overrides.into_iter();
        let images = body.drive_overrides.into_iter();
        Ok(LoadSpec {
            state: body.snapshot_path.into(),
            memory: memory.into(),
            pager,
            pages: match body.huge_pages {
                HugePagesOverride::Snapshot => None,
                HugePagesOverride::None | HugePagesOverride::Transparent => Some(Pages::Small),
                HugePagesOverride::TwoMiB => Some(Pages::Huge),
            },
            record: body.record,
            resume: body.resume_vm,
            taps: taps.map(|card| (card.iface_id, card.host_dev_name)).collect(),
            images: images.map(|disk| (disk.drive_id, disk.path_on_host.into())).collect(),
            vsock: body.vsock_override.map(|vsock| vsock.uds_path.into()),
            advance: body.clock_realtime,
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
                "drive_overrides":[{"drive_id":"d","path_on_host":"other"}],
                "vsock_override":{"uds_path":"v"},"clock_realtime":false}"#,
        );
        let spec = spec.unwrap();
        assert_eq!((spec.state, spec.memory), ("s".into(), "m".into()));
        assert_eq!((spec.resume, spec.advance), (true, Some(false)));
        assert_eq!(spec.taps, [("eth0".to_string(), "tap7".to_string())]);
        assert_eq!(spec.images, [("d".to_string(), PathBuf::from("other"))]);
        assert_eq!(spec.vsock, Some("v".into()));
    }

    #[test]
    fn memory_is_named_once_and_what_is_not_there_is_refused_by_its_name() {
        let error = |text: &str| load(text).unwrap_err();
        assert!(error(r#"{"snapshot_path":"s"}"#).contains("missing field: either"));
        let file = r#""mem_backend":{"backend_type":"File","backend_path":"m"}"#;
        let both = format!(r#"{{"snapshot_path":"s","mem_file_path":"m",{file}}}"#);
        assert!(error(&both).contains("too many fields: either"));
        for (more, name) in [
            (r#""track_dirty_pages":true"#, "track_dirty_pages"),
            (r#""huge_pages":"2M""#, "huge_pages"),
            (r#""page_server":1"#, "page_server"),
        ] {
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
        assert!(CreateSpec::try_from(diff).unwrap_err().to_string().contains("snapshot_type"));
    }
}

//! What is told of a fork.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use devices::net::mac::MacAddr;
use serde::Serialize;

use crate::snapshot::spec::OtherImage;

/// A fork that was made.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Forked {
    /// In the order of their numbers.
    pub children: Vec<Child>,
    /// The machine's own disks that go on in overlays above their images, which nobody writes any more: where those have
    /// no copies that share their blocks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<ChildDisk>,
    /// Bytes of memory that all of them, and the machine, share as long as nobody writes to them.
    pub memory_bytes: u64,
    /// Microseconds that the machine was paused.
    pub pause_us: u64,
    /// Microseconds until all children were let go.
    pub took_us: u64,
}

/// A machine of its own.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Child {
    /// Its name.
    pub id: String,
    /// Number of its process.
    pub pid: u32,
    /// Socket of its API.
    pub api_socket: String,
    /// Its cards.
    pub network_interfaces: Vec<ChildNic>,
    /// Its disks that are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<ChildDisk>,
    /// Socket of its vsock, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uds_path: Option<String>,
}

/// A disk after a fork.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ChildDisk {
    /// Its name.
    pub drive_id: String,
    /// The image: a copy of the machine's as that was at the moment, or an overlay above that.
    pub path_on_host: String,
    /// What is below that, the nearest first, if it is an overlay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_paths_on_host: Vec<String>,
}

impl From<OtherImage> for ChildDisk {
    fn from(image: OtherImage) -> ChildDisk {
        let text = |path: PathBuf| path.display().to_string();
        ChildDisk {
            drive_id: image.id,
            path_on_host: text(image.path),
            base_paths_on_host: image.bases.into_iter().map(text).collect(),
        }
    }
}

/// A card of a child.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ChildNic {
    /// Its name.
    pub iface_id: String,
    /// The host's TAP.
    pub host_dev_name: String,
    /// The card's address, which is that of the machine's card, as the guest knows it so.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    pub guest_mac: Option<MacAddr>,
    /// The address that the network sees in its place, if it is to see another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<String>))]
    pub mac: Option<MacAddr>,
    /// The IPv4 address that the network sees in place of the guest's, if it is to see another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
}

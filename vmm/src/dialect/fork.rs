//! The body of `/fork`: which children there are to be.

use serde::Deserialize;

use super::snapshot::{DriveOverride, NetworkOverride, VsockOverride};
use super::{BodyError, bad};
use crate::fork::spec::ForkSpec;

/// Children that a machine is to have. In texts, `{n}` is the number of each.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// How many.
    #[serde(default = "one")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 1000, default = 1))]
    pub count: u32,
    /// Number of the first.
    #[serde(default = "one")]
    #[cfg_attr(test, schema(default = 1))]
    pub first: u32,
    /// Their names; the machine's, `-` and the number if not given.
    #[serde(default)]
    pub id: Option<String>,
    /// Host paths of their API sockets; the machine's, `.` and the number if not given.
    #[serde(default)]
    pub api_socket: Option<String>,
    /// TAPs of their cards; the machine's, `-` and the number for cards that are not named. Of several children each has an
    /// `ip` that is one higher than the one before, and none a `mac` that is given.
    #[serde(default)]
    pub network_overrides: Vec<NetworkOverride>,
    /// Images for their disks that are written; the machine's image, `.` and the number for disks that are not
    /// named. They are copies that share blocks; where the file system has none of these, overlays above what the machine
    /// had, which goes on above it too. Bases are not to be given.
    #[serde(default)]
    pub drive_overrides: Vec<DriveOverride>,
    /// Sockets of their vsocks; the machine's, `.` and the number if not given.
    #[serde(default)]
    pub vsock_override: Option<VsockOverride>,
    /// Where their serial consoles go: `file=PATH` or `socket=PATH`; nowhere if not given.
    #[serde(default)]
    pub serial: Option<String>,
    /// Host paths of their logs; the machine's if not given.
    #[serde(default)]
    pub log_path: Option<String>,
    /// Whether they can have children themselves, for which each has a process more.
    #[serde(default)]
    pub forks: bool,
    /// Whether they run at once; they do if not given.
    #[serde(default = "yes")]
    #[cfg_attr(test, schema(default = true))]
    pub resume_vm: bool,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl TryFrom<Fork> for ForkSpec {
    type Error = BodyError;

    fn try_from(body: Fork) -> Result<ForkSpec, BodyError> {
        let identities = body.network_overrides.iter().map(NetworkOverride::identity);
        let identities = identities.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let taps = body.network_overrides.into_iter();
        if body.drive_overrides.iter().any(|disk| !disk.base_paths_on_host.is_empty()) {
            let why = "what is below images of children is what the machine has; leave it out";
            return Err(bad("base_paths_on_host", why));
        }
        let images = body.drive_overrides.into_iter();
        Ok(ForkSpec {
            count: body.count,
            first: body.first,
            resume: body.resume_vm,
            id: body.id,
            api_socket: body.api_socket,
            taps: taps.map(|card| (card.iface_id, card.host_dev_name)).collect(),
            identities,
            images: images.map(|disk| (disk.drive_id, disk.path_on_host)).collect(),
            vsock: body.vsock_override.map(|vsock| vsock.uds_path),
            serial: body.serial,
            log: body.log_path,
            forks: body.forks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::read;

    #[test]
    fn a_fork_is_of_one_child_that_runs_if_nobody_says_otherwise() {
        let spec = |text: &str| ForkSpec::try_from(read::<Fork>(text.as_bytes()).unwrap()).unwrap();
        let one = ForkSpec { count: 1, first: 1, resume: true, ..ForkSpec::default() };
        assert_eq!(spec("{}"), one);
        let all = spec(
            r#"{"count":3,"first":7,"id":"a-{n}","api_socket":"/s{n}","resume_vm":false,
                "network_overrides":[{"iface_id":"eth0","host_dev_name":"t{n}","identity":"rewrite"}],
                "drive_overrides":[{"drive_id":"d","path_on_host":"/d{n}"}],
                "vsock_override":{"uds_path":"/v{n}"},"serial":"file=/c{n}","log_path":"/l"}"#,
        );
        assert_eq!((all.count, all.first, all.resume), (3, 7, false));
        assert_eq!(all.taps, [("eth0".to_string(), "t{n}".to_string())]);
        assert_eq!((all.identities.len(), &*all.identities[0].id), (1, "eth0"));
        assert_eq!(all.images, [("d".to_string(), "/d{n}".to_string())]);
        assert_eq!((all.vsock.as_deref(), all.log.as_deref()), (Some("/v{n}"), Some("/l")));
        for text in [r#"{"n":3}"#, r#"{"count":-1}"#, r#"{"count":"3"}"#, "[]"] {
            assert!(read::<Fork>(text.as_bytes()).is_err(), "{text}");
        }
    }
}

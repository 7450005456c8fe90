//! `/vsock`: the machine's vsock.

use devices::vsock::VsockSpec;
use serde::{Deserialize, Serialize};

/// A vsock: stream sockets between the guest and Unix sockets of the host.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's address: 3 or more. 0 is taken too, with a warning in the log.
    #[cfg_attr(test, schema(maximum = 4_294_967_294_u64, examples(3)))]
    pub guest_cid: u32,
    /// The Unix socket to make, for who connects to the guest. Behind its name with `_PORT` are those that the
    /// guest connects to.
    #[cfg_attr(test, schema(min_length = 1))]
    pub uds_path: String,
    /// Its name, which is of no use.
    #[serde(default, skip_serializing)]
    #[cfg_attr(test, schema(deprecated))]
    pub vsock_id: Option<String>,
}

impl From<Vsock> for VsockSpec {
    fn from(vsock: Vsock) -> VsockSpec {
        VsockSpec { cid: vsock.guest_cid, path: vsock.uds_path.into() }
    }
}

impl From<&VsockSpec> for Vsock {
    fn from(spec: &VsockSpec) -> Vsock {
        let uds_path = spec.path.display().to_string();
        Vsock { guest_cid: spec.cid, uds_path, vsock_id: None }
    }
}

//! `/mmds` and `/mmds/config`: the metadata service's content and manners.

use std::net::Ipv4Addr;

use devices::net::service::metadata::{IPV4_ADDRESS, Settings, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BodyError, bad};
use crate::vm::metadata::MetadataSpec;

/// How guests reach metadata.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MmdsConfig {
    /// The cards by which a guest reaches it; each must exist already, and there is one at least, or there may be some
    /// later.
    pub network_interfaces: Vec<String>,
    /// Cards that are plugged in while the machine runs are among them, too.
    #[serde(default)]
    pub later_interfaces: bool,
    /// What a guest has to show.
    #[serde(default)]
    pub version: MmdsVersion,
    /// Where it is, besides `fd00:ec2::254`: 169.254.1.0 to 169.254.254.255.
    #[serde(default = "usual_address")]
    #[cfg_attr(test, schema(value_type = String, default = "169.254.169.254"))]
    pub ipv4_address: String,
    /// Answers are as EC2's, whatever a guest asks for in `Accept`.
    #[serde(default)]
    pub imds_compat: bool,
    /// Routers that answers may pass, and one: 2 for containers behind a bridge of the guest.
    #[serde(default = "one")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 64))]
    pub hop_limit: u8,
}

/// What a guest has to show.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum MmdsVersion {
    /// Nothing.
    #[default]
    V1,
    /// The token of a session.
    V2,
}

fn usual_address() -> String {
    IPV4_ADDRESS.to_string()
}

fn one() -> u8 {
    1
}

impl TryFrom<MmdsConfig> for MetadataSpec {
    type Error = BodyError;

    fn try_from(body: MmdsConfig) -> Result<MetadataSpec, BodyError> {
        let not_an_address =
            || bad("ipv4_address", format!("{:?} is no IPv4 address", body.ipv4_address));
        let address: Ipv4Addr = body.ipv4_address.parse().map_err(|_| not_an_address())?;
        if !(1..=64).contains(&body.hop_limit) {
            return Err(bad(
                "hop_limit",
                format!("{} is not possible; it is 1 to 64", body.hop_limit),
            ));
        }
        let version = match body.version {
            MmdsVersion::V1 => Version::V1,
            MmdsVersion::V2 => Version::V2,
        };
        let settings =
            Settings { version, address, imds_compat: body.imds_compat, hop_limit: body.hop_limit };
        let (cards, later) = (body.network_interfaces, body.later_interfaces);
        Ok(MetadataSpec { settings, cards, later })
    }
}

impl From<&MetadataSpec> for MmdsConfig {
    fn from(spec: &MetadataSpec) -> MmdsConfig {
        let Settings { version, address, imds_compat, hop_limit } = spec.settings;
        MmdsConfig {
            network_interfaces: spec.cards.clone(),
            later_interfaces: spec.later,
            version: match version {
                Version::V1 => MmdsVersion::V1,
                Version::V2 => MmdsVersion::V2,
            },
            ipv4_address: address.to_string(),
            imds_compat,
            hop_limit,
        }
    }
}

/// Any JSON: what guests are told.
pub fn contents(text: &[u8]) -> Result<Value, BodyError> {
    serde_json::from_slice(text).map_err(|error| BodyError::Json(error.to_string()))
}

//! What a machine says that it is: the object `smbios` of `/machine-config`.

use arch::guid::Guid;
use arch::smbios::{Identity, Text};
use serde::{Deserialize, Serialize};

use super::{BodyError, bad};

/// What SMBIOS says that the machine is; what is not given, it does not say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Smbios {
    /// Maker of system, board, chassis and BIOS; `vmm` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Name of the product; `vmm` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Version of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Serial number of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// UUID of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Asset tag of board and chassis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<String>,
}

impl TryFrom<Smbios> for Identity {
    type Error = BodyError;

    fn try_from(body: Smbios) -> Result<Identity, BodyError> {
        let text = |field: &'static str, text: Option<String>| match text {
            Some(text) => Text::new(&text).map(Some).map_err(|why| bad(field, why.to_string())),
            None => Ok(None),
        };
        let uuid = body.uuid.as_deref().map(str::parse::<Guid>).transpose();
        Ok(Identity {
            vendor: text("smbios.vendor", body.vendor)?,
            product: text("smbios.product", body.product)?,
            version: text("smbios.version", body.version)?,
            serial: text("smbios.serial", body.serial)?,
            uuid: uuid.map_err(|why| bad("smbios.uuid", why.to_string()))?.unwrap_or_default(),
            asset_tag: text("smbios.asset_tag", body.asset_tag)?,
        })
    }
}

impl Smbios {
    /// What a user would say; nothing of a machine that nobody named.
    pub fn of(identity: &Identity) -> Option<Smbios> {
        let text = |text: &Option<Text>| text.as_ref().map(Text::to_string);
        let is_said = *identity != Identity::default();
        is_said.then(|| Smbios {
            vendor: text(&identity.vendor),
            product: text(&identity.product),
            version: text(&identity.version),
            serial: text(&identity.serial),
            uuid: (identity.uuid != Guid::default()).then(|| identity.uuid.to_string()),
            asset_tag: text(&identity.asset_tag),
        })
    }
}

//! What a user says about who the machine is, in the command line's form.

use std::str::FromStr;

use arch::guid::GuidError;
use arch::smbios::{Identity, Text, TextError};

use super::pairs::parts;

/// `key=value` pairs with commas between them, each key once. A comma in a value is written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySpec(pub Identity);

/// Why a text is no identity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("'{0}' is no key=value; write such as vendor=Acme,serial=0815")]
    Syntax(String),
    #[error("'{0}' is not known; the keys are {KEYS}")]
    Unknown(String),
    #[error("{0} is given twice")]
    Twice(String),
    #[error("{key}: {why}")]
    Text { key: &'static str, why: TextError },
    #[error("uuid: {0}")]
    Uuid(#[from] GuidError),
}

const KEYS: &str = "vendor, product, version, serial, uuid, asset-tag";

impl FromStr for IdentitySpec {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<IdentitySpec, IdentityError> {
        let mut identity = Identity::default();
        let mut seen = Vec::new();
        for pair in parts(text) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| IdentityError::Syntax(pair.clone()))?;
            if seen.iter().any(|known| known == key) {
                return Err(IdentityError::Twice(key.to_string()));
            }
            seen.push(key.to_string());
            let (field, key) = match key {
                "vendor" => (&mut identity.vendor, "vendor"),
                "product" => (&mut identity.product, "product"),
                "version" => (&mut identity.version, "version"),
                "serial" => (&mut identity.serial, "serial"),
                "asset-tag" => (&mut identity.asset_tag, "asset-tag"),
                "uuid" => {
                    identity.uuid = value.parse()?;
                    continue;
                }
                _ => return Err(IdentityError::Unknown(key.to_string())),
            };
            let value = Text::new(value).map_err(|why| IdentityError::Text { key, why })?;
            *field = Some(value);
        }
        Ok(IdentitySpec(identity))
    }
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;

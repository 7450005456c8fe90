//! What a user says about who the machine is, in the command line's form.

use std::str::FromStr;

use arch::smbios::{Identity, Text};
use device_core::options::{Given, OptionError, parts};

/// `key=value` pairs with commas between them, each key once. A comma in a value is written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySpec(pub Identity);

#[derive(Clone, Copy)]
enum Key {
    Vendor,
    Product,
    Version,
    Serial,
    Uuid,
    AssetTag,
}

const KEYS: [(Key, &str); 6] = [
    (Key::Vendor, "vendor"),
    (Key::Product, "product"),
    (Key::Version, "version"),
    (Key::Serial, "serial"),
    (Key::Uuid, "uuid"),
    (Key::AssetTag, "asset-tag"),
];

impl FromStr for IdentitySpec {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<IdentitySpec, OptionError> {
        let mut identity = Identity::default();
        let mut uuid = None;
        for part in parts(text) {
            let given = Given::of(&part, &KEYS)?;
            let field = match given.key {
                Key::Vendor => &mut identity.vendor,
                Key::Product => &mut identity.product,
                Key::Version => &mut identity.version,
                Key::Serial => &mut identity.serial,
                Key::AssetTag => &mut identity.asset_tag,
                Key::Uuid => {
                    given.put(&mut uuid, given.parse()?)?;
                    continue;
                }
            };
            let value = Text::new(&given.value).map_err(|why| given.bad(why))?;
            given.put(field, value)?;
        }
        identity.uuid = uuid.unwrap_or(identity.uuid);
        Ok(IdentitySpec(identity))
    }
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;
